"""Names and options of the fusion rules without training; imports no JAX, so help is quick.

A rule is written NAME or NAME:OPTION=VALUE,OPTION=VALUE, such as "wavelet:gain=1.2,planes=5".
"""

import dataclasses
import math
from typing import ClassVar

from cfi_jax.core.config import guess
from cfi_jax.core.types import InputError


@dataclasses.dataclass(frozen=True)
class WaveletOptions:
  """Options of `rules.wavelet`.

  planes: number of wavelet planes; the coarsest holds details of about 2^planes pixels.
  exponent: a source's weight in a plane is proportional to |w|^exponent, |w| smoothed; 0 averages,
    a large one chooses.
  gain: factor on the details.
  spread: factor on the sum of the two mean-free low-pass residuals; 0.5 averages them.
  brighter: share of the way from there to the brighter residual of each pixel. With a spread of
    0.5, 0 is their mean and 1 their maximum.
  """

  PLACE: ClassVar[str] = ""  # what messages put before a field's name

  planes: int
  exponent: float
  gain: float
  spread: float
  brighter: float

  def __post_init__(self):
    """Refuses values out of range."""
    if not 1 <= self.planes <= 8:
      raise InputError(f"{self.PLACE}planes is {self.planes}; allowed: 1 to 8")
    for name in ("exponent", "gain", "spread", "brighter"):
      value = getattr(self, name)
      if not 0 <= value < math.inf:
        raise InputError(f"{self.PLACE}{name} is {value}; allowed: finite, 0 or more")


@dataclasses.dataclass(frozen=True)
class NoOptions:
  """The options of a rule that has none."""


Options = WaveletOptions | NoOptions
DEFAULTS: dict[str, Options] = {
  "wavelet": WaveletOptions(planes=4, exponent=4.0, gain=1.1, spread=0.7, brighter=0.3),
  "laplacian": NoOptions(),
  "average": NoOptions(),
  "maximum": NoOptions(),
}
NAMES = ", ".join(DEFAULTS)
PRIOR = "wavelet"  # the rule that a network may start from


@dataclasses.dataclass(frozen=True)
class Choice:
  """A rule of `DEFAULTS` with all its options; its text names both, and chooses it again."""

  name: str
  options: Options

  def __str__(self) -> str:
    values = dataclasses.asdict(self.options)
    texts = (f"{key}={repr(value).removesuffix('.0')}" for key, value in values.items())
    return self.name + ":" * bool(values) + ",".join(texts)


def is_rule(text: object) -> bool:
  """Whether a text names a rule. A path does not, nor a text with a slash, as in "./wavelet"."""
  return isinstance(text, str) and text.partition(":")[0] in DEFAULTS and "/" not in text


def parse(text: str) -> Choice:
  """Reads a text that `is_rule`; InputError for an option or a value that the rule has not."""
  name, colon, given = text.partition(":")
  fields = {field.name: field.type for field in dataclasses.fields(DEFAULTS[name])}
  allowed = f"allowed: {', '.join(fields)}" if fields else f"{name} has no options"
  values: dict[str, float] = {}
  for item in given.split(",") if colon else ():
    key, equals, value = item.partition("=")
    if not equals or key not in fields:
      what = (
        f"no option {key!r}{guess(key, list(fields))}" if equals else f"{item!r} is no OPTION=VALUE"
      )
      raise InputError(f"rule {text!r}: {what}; {allowed}")
    if key in values:
      raise InputError(f"rule {text!r}: {key} is given twice")
    try:
      values[key] = fields[key](value)
    except ValueError:
      kind = "a whole number" if fields[key] is int else "a number"
      raise InputError(f"rule {text!r}: {key} is {value!r}; allowed: {kind}") from None
  try:
    return Choice(name, dataclasses.replace(DEFAULTS[name], **values))
  except InputError as error:
    raise InputError(f"rule {text!r}: {error}") from error


def prior_of(text: str) -> WaveletOptions | None:
  """The options of the rule that a field `model.prior` names, None for "none".

  Raises InputError for another text.
  """
  if text == "none":
    return None
  if not is_rule(text) or text.partition(":")[0] != PRIOR:
    raise InputError(f"model.prior={text!r}; valid: none, {PRIOR}, {PRIOR}:OPTION=VALUE,...")
  return parse(text).options
