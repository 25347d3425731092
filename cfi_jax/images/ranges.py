"""Ranges: which values of an image mean 0 and 1, by the rules of `normalize`.

A rule is one of `RULES`. "auto" takes 8 bits, floats in [0, 1] and 16 bits that use at least a
tenth of them as they are, and stretches all others, such as a thermal camera's counts or degrees.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.images import fills, temperature

RULES = "auto, full, percentile, window=LOW:HIGH, bits=N"
OVER = ("image", "folder")
PERCENTILES = (1, 99)
NARROW = 0.1  # share of an unsigned type below which "auto" stretches what an image uses of it,
USED = (0.1, 99.9)  # between these percentiles, so that dead pixels do not count
CLOSE = 1e-3  # floats that leave [0, 1] by less are rounding
AUTO = "auto"
_QUANTILES = (np.arange(1024) + 0.5) / 1024


@dataclasses.dataclass(frozen=True)
class Range:
  """The values that mean 0 and 1. how: "full", "percentile", "window" or "bits".

  used: what the image uses, its low and high end, without fill values where these decide whether it
  is outside. missing: number of its pixels without a value. fills: the values (`images.fills`) that
  do not count for percentiles.
  """

  low: float
  high: float
  how: str
  used: tuple[float, float]
  missing: int = 0
  fills: tuple[float, ...] = ()

  @property
  def is_outside(self) -> bool:
    """Whether all values of the image lie below the one, or all above the other."""
    return self.used[1] < self.low or self.used[0] > self.high

  def to_unit(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Maps values to [0, 1], clipped; a missing value (NaN) is 0."""
    precise = np.promote_types(dtype, np.float64 if values.dtype.kind in "iu" else values.dtype)
    unit = (values.astype(precise) - self.low) / (self.high - self.low)
    return np.nan_to_num(np.clip(unit, 0, 1), nan=0.0).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A rule of `RULES`; low and high: those of a window, or 0 and the largest value of N bits.

  unit: of the images' values, "" where the window is in them. A window of temperatures is in
  kelvin; its unit is "auto" where `temperature.unit_of` finds that of the values.
  """

  kind: str = "auto"
  low: float = 0.0
  high: float = 0.0
  unit: str = ""

  @classmethod
  def parse(cls, text: str) -> "Rule":
    """Reads a rule; raises InputError naming the allowed ones."""
    refused = InputError(f"normalize is {text!r}; allowed: {RULES}")
    if text in ("auto", "full", "percentile"):
      return cls(text)
    if match := re.fullmatch(r"bits=(\d+)", text):
      if not 1 <= int(match[1]) <= 32:
        raise InputError(f"normalize is {text!r}; allowed: bits=1 to bits=32")
      return cls("bits", 0.0, 2.0 ** int(match[1]) - 1)
    if match := re.fullmatch(r"window=([^:]+):([^:]+)(?::(\w+))?", text):
      try:
        return cls("window", *_window(match[1], match[2], match[3] or ""))
      except ValueError:
        raise InputError(
          f"normalize is {text!r}; allowed: window=LOW:HIGH, LOW below HIGH, two numbers, or two "
          f"temperatures such as 0C:40C; and behind them :UNIT of the values; units are "
          f"{', '.join(temperature.UNITS)}"
        ) from None
    raise refused

  def keeps(self, dtype: np.dtype) -> bool:
    """Whether images of a type mean 0 to its largest value, whatever they hold."""
    return dtype == np.uint8 and (
      self.kind in ("auto", "full") or (self.kind == "bits" and self.high == 255)
    )

  def is_open(self, dtype: np.dtype) -> bool:
    """Whether what images of a type hold decides on their range."""
    of_values = self.kind in ("auto", "percentile") or self.unit == AUTO
    return of_values and not self.keeps(dtype)

  def find(
    self,
    values: np.ndarray,
    dtype: np.dtype | None = None,
    label: str = "",
    valid: np.ndarray | None = None,
  ) -> Range:
    """The range of an image, or of the values of many; missing values do not count.

    dtype: of the images, if it is not that of `values`. valid: bool like `values`, false where one
    is missing, as it is where it is NaN. Raises InputError, with the label, where all are missing,
    where "full" is asked for and values lie outside of it, and for a window or bits beyond the
    type.
    """
    dtype = np.dtype(values.dtype if dtype is None else dtype)
    natural = 0.0, float(largest(dtype))
    if self.keeps(dtype):
      missing = 0 if valid is None else int(np.count_nonzero(~valid))
      return Range(*natural, "full", natural, missing)
    present = _present(values, valid)
    if not present.size:
      raise InputError(f"{label}: no pixel has a value (all are NaN or nodata)")
    missing = values.size - present.size
    if self.kind in ("window", "bits"):
      low, high = self._ends(present, label)
      self._require_reach(low, high, dtype, label)
      if np.mean((low <= present) & (present <= high)) <= fills.MOST:  # more are no fill values
        present = present[~np.isin(present, fills.find(present, dtype)[0])]
      return Range(low, high, self.kind, _bounds(present), missing)
    used = _bounds(present)
    fits = _is_within(used, natural, dtype)
    if self.kind == "full" and not fits:
      has, takes = (
        f"from {number_text(low)} to {number_text(high)}" for low, high in (used, natural)
      )
      raise InputError(
        f"{label} has values {has}, and normalize=full takes {dtype} {takes}; other rules: {RULES}"
      )
    if self.kind == "full" or (dtype.kind == "f" and self.kind == "auto" and fits):
      return Range(*natural, "full", used, missing)
    filled, judged = fills.find(present, dtype)
    if self.kind == "auto" and _is_wide(judged, natural, dtype):
      return Range(*natural, "full", used, missing)
    low, high = (float(p) for p in np.percentile(judged, PERCENTILES))
    if not high > low:  # nearly all are one value
      low, high = used
    return Range(low, high if high > low else low + 1, "percentile", used, missing, filled)

  def _ends(self, present: np.ndarray, label: str) -> tuple[float, float]:
    """The window, or the values of N bits, in the values of an image."""
    if not self.unit:
      return self.low, self.high
    unit = temperature.unit_of(present, label) if self.unit == AUTO else self.unit
    low, high = (temperature.from_kelvin(end, unit) for end in (self.low, self.high))
    return low, high

  def _require_reach(self, low: float, high: float, dtype: np.dtype, label: str) -> None:
    """Raises InputError where integers cannot reach into a window, or are of fewer bits."""
    most = largest(dtype)
    if dtype.kind == "f" or (low < most and (self.kind == "window" or high <= most)):
      return
    ends = f"{number_text(low)}:{number_text(high)}"
    text = f"window={ends}" if self.kind == "window" else f"bits={int(high).bit_length()}"
    raise InputError(
      f"{label} is of {type_text(dtype)}, at most {number_text(most)}, which normalize={text} does "
      f"not fit; give each image its own rule, such as infrared:{text}"
    )


@dataclasses.dataclass(frozen=True)
class Normalizer:
  """The rule of every image name; ranges: of a whole folder, by name and type, where one is meant.

  default: the rule of names that `rules` lacks.
  """

  rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
  default: Rule = Rule()
  ranges: Mapping[tuple[str, str], Range] = dataclasses.field(default_factory=dict)

  def rule(self, name: str) -> Rule:
    """The rule of an image name."""
    return self.rules.get(name, self.default)

  def find(
    self, name: str, values: np.ndarray, label: str = "", valid: np.ndarray | None = None
  ) -> Range:
    """The range of an image (its luma): that of the folder, or its own; see `Rule.find`."""
    known = self.ranges.get((name, values.dtype.name))
    if known is None:
      return self.rule(name).find(values, label=label, valid=valid)
    return dataclasses.replace(known, missing=values.size - _present(values, valid).size)

  def with_window(self, name: str, window: str) -> "Normalizer":
    """The same rules with the window "LOW:HIGH" for an image name; "" changes nothing.

    Raises InputError where the name has a rule already.
    """
    if not window:
      return self
    if name in self.rules or self.default.kind == "window":
      raise InputError(f"window={window} and a rule of normalize for {name} images; leave one out")
    rules = {**self.rules, name: Rule.parse(f"window={window}")}
    return dataclasses.replace(self, rules=rules)

  def of_folder(self, summaries: Iterable[tuple[str, np.ndarray, np.dtype]]) -> "Normalizer":
    """The same rules with one range per name and type; summaries: (name, `summarise`, type)."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for name, summary, dtype in summaries:
      found.setdefault((name, np.dtype(dtype).name), []).append(summary)
    ranges = {
      (name, dtype): self.rule(name).find(np.concatenate(parts), np.dtype(dtype), f"{name} images")
      for (name, dtype), parts in found.items()
    }
    return dataclasses.replace(self, ranges=ranges)


def parse(
  text: str | Mapping[str, str], names: Iterable[str] | None = None, over: str = OVER[0]
) -> Normalizer:
  """The rules of "RULE" for all images, of "NAME:RULE,NAME:RULE", or of {name: rule}.

  names: those allowed, any where it is None. Raises InputError for what is no rule or no name.
  """
  if over not in OVER:
    raise InputError(f"normalize_over is {over!r}; allowed: {', '.join(OVER)}")
  if isinstance(text, str):
    parts = [re.fullmatch(r"(?:(\w+):)?(.*)", part.strip()) for part in text.split(",")]
    pairs = [(part[1], part[2]) for part in parts if part]
  elif isinstance(text, Mapping):
    pairs = list(text.items())
  else:
    raise InputError(f"normalize is {text!r}; allowed: {RULES}, or {{NAME: RULE}}")
  names = None if names is None else tuple(names)
  if [name for name, _ in pairs] == [None]:
    return Normalizer(default=Rule.parse(pairs[0][1]))
  for name, rule in pairs:
    if name is None or (names is not None and name not in names):
      valid = f"NAME:RULE of {', '.join(names)}" if names else "NAME:RULE"
      raise InputError(f"normalize is {text!r}; allowed: one rule ({RULES}), or {valid} by commas")
    if not isinstance(rule, str):
      raise InputError(f"normalize is {text!r}; allowed: {RULES}")
  return Normalizer({name: Rule.parse(rule) for name, rule in pairs})


def largest(dtype: np.dtype) -> float:
  """The value that means 1 where a type is taken as it is."""
  dtype = np.dtype(dtype)
  return np.iinfo(dtype).max if dtype.kind in "iu" else 1.0


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Converts floating point to a type; rounds to integers and clips to those that it holds."""
  dtype = np.dtype(dtype)
  if dtype.kind in "iu":
    info = np.iinfo(dtype)
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)
  return values.astype(dtype)


def summarise(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
  """Quantiles that stand for an image among those of a folder, [1024]; fewer of a smaller one.

  valid: see `Rule.find`.
  """
  present = _present(values, valid)
  if present.size <= _QUANTILES.size:
    return present.astype(np.float64)
  return np.quantile(present, _QUANTILES).astype(np.float64)


def to_unsigned(luma: np.ndarray, name: str, normalizer: Normalizer, label: str = "") -> np.ndarray:
  """An image by the rule of its name as uint8, where that keeps it as it is, or as uint16."""
  rule = normalizer.rule(name)
  if rule.keeps(luma.dtype):
    return luma
  found = normalizer.find(name, luma, f"{label} {name}")
  if found.how == "full" and luma.dtype == np.uint16:
    return luma
  wide = np.dtype(np.uint16)
  return to_type(found.to_unit(luma, np.dtype(np.float64)) * largest(wide), wide)


def _window(low: str, high: str, of: str) -> tuple[float, float, str]:
  """Ends of a window and the unit of the values it is for, as a `Rule` has them.

  Raises ValueError for what is no window.
  """
  (first, unit), (second, other) = temperature.split(low), temperature.split(high)
  if unit != other or (of and (not unit or of not in temperature.UNITS)):
    raise ValueError(f"{low}:{high}:{of}")
  if unit:
    first, second = (temperature.to_kelvin(end, unit) for end in (first, second))
  if not (np.isfinite([first, second]).all() and first < second):
    raise ValueError(f"{low}:{high}")
  return first, second, (of or AUTO) if unit else ""


def _present(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
  """The values that are not missing, flat."""
  values = values if valid is None else values[valid]
  return values[~np.isnan(values)] if values.dtype.kind == "f" else values.reshape(-1)


def _bounds(values: np.ndarray) -> tuple[float, float]:
  """The least and the largest of values."""
  return float(values.min()), float(values.max())


def _is_wide(values: np.ndarray, natural: tuple[float, float], dtype: np.dtype) -> bool:
  """Whether "auto" takes integers as 0 to the type's largest."""
  if dtype.kind != "u":
    return False
  low, high = np.percentile(values, USED)
  return bool(high - low >= NARROW * natural[1])


def _is_within(used: tuple[float, float], natural: tuple[float, float], dtype: np.dtype) -> bool:
  slack = CLOSE if np.dtype(dtype).kind == "f" else 0
  return used[0] >= natural[0] - slack and used[1] <= natural[1] + slack


def type_text(dtype: np.dtype) -> str:
  """A type as it is said: "16 bits", "floating-point 32 bits"."""
  kinds = {"u": "", "i": "signed ", "f": "floating-point "}
  return f"{kinds.get(dtype.kind, '')}{8 * dtype.itemsize} bits"


def number_text(value: float) -> str:
  """A value as it is said, whole numbers without a point."""
  return f"{value:.6g}" if value != round(value) or abs(value) > 1e9 else str(round(value))
