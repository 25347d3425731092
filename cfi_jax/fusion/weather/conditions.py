"""Conditions of weather: kinds and levels, and the parameters of a sample.

Levels are ours. Those of haze bracket optical depths measured on the samples of AWFusion (Li et al.
2024); rain follows the classes of the American Meteorological Society, light below 2.5 mm/h and
heavy above 7.6 mm/h; snow says which share of the pixels flakes cover.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError

KINDS = ("haze", "rain", "snow")
# Least and greatest amount by level, in the order of `KINDS`: the optical depth at the far end, the
# rain rate in mm/h, the share of the pixels that flakes cover.
LEVELS = {
  "light": ((0.8, 1.5), (1.0, 2.5), (0.015, 0.03)),
  "medium": ((1.5, 2.5), (2.5, 7.6), (0.04, 0.06)),
  "heavy": ((2.5, 4.0), (7.6, 15.0), (0.08, 0.12)),
}
# Thermal models: `physical` after the equation of radiation through an atmosphere, `attenuated`
# the attenuation by depth of AWMM-100k's samples.
THERMAL = ("physical", "attenuated")
# Brightness of scattered light by kind.
_AIRLIGHT = ((0.75, 1.0), (0.4, 0.6), (0.75, 0.85))
# Extinction in 8 to 14 um over that in the visible, by kind. Drops and flakes are far larger than
# either wavelength, the particles of haze smaller than the thermal one.
_THERMAL_RATIO = ((0.2, 0.4), (0.7, 1.0), (0.7, 1.0))


@struct.dataclass
class Weather:
  """The parameters of the weather of one sample, scalars but where said.

  haze: its optical depth at the far end. rain: its rate in mm/h. snow: the share of the pixels that
  flakes cover. An amount of 0 is no such weather.
  airlight: brightness of the light that each kind scatters, [3]. tint: what is added to it in each
    channel, [3].
  angle: of rain from the vertical, radians. length, opacity: of streaks, factors on what
    `visible.streaks` gives. width: their standard deviation across. flakes: brightness of snow
    flakes. drift: direction of their motion from the vertical, radians. motion: its length. Width
    and motion are in pixels of 480 rows.
  thermal_ratio: thermal extinction over visible one by kind, [3]. attenuated: whether the thermal
    image is that of the model `attenuated`. air: level of cold air in standard deviations below the
    mean of the thermal image. gain: of the thermal camera. thermal_noise, row_noise: standard
    deviations. thermal_blur: standard deviation in pixels.
  """

  haze: Array
  rain: Array
  snow: Array
  airlight: Array
  tint: Array
  angle: Array
  length: Array
  width: Array
  opacity: Array
  flakes: Array
  drift: Array
  motion: Array
  thermal_ratio: Array
  attenuated: Array
  air: Array
  gain: Array
  thermal_noise: Array
  row_noise: Array
  thermal_blur: Array

  @property
  def amounts(self) -> Array:
    """The amounts in the order of `KINDS`, [3]."""
    return jnp.stack([self.haze, self.rain, self.snow])


@dataclasses.dataclass(frozen=True)
class WeatherOptions:
  """Weather that samples are drawn from; of each tuple one entry, all alike likely.

  kinds: of `KINDS`, mixtures with a plus such as "rain+haze"; empty for none at all.
  levels: of `LEVELS`. thermal: of `THERMAL`. clear: the share of samples without weather.
  """

  kinds: tuple[str, ...]
  levels: tuple[str, ...]
  thermal: tuple[str, ...]
  clear: float

  def __post_init__(self):
    """Raises InputError naming the field, its value and what is allowed."""
    for kind in self.kinds:
      parts_of(kind)
    for name, valid in (("levels", tuple(LEVELS)), ("thermal", THERMAL)):
      given = getattr(self, name)
      if not given or any(value not in valid for value in given):
        raise InputError(f"weather.{name} is {given!r}; allowed: one or more of {', '.join(valid)}")
    if not 0 <= self.clear <= 1:
      raise InputError(f"weather.clear is {self.clear!r}; allowed: 0 to 1")


def parts_of(kind: str) -> tuple[str, ...]:
  """The kinds that a mixture such as "rain+haze" consists of; InputError lists the valid ones."""
  parts = tuple(kind.split("+"))
  if not set(parts) <= set(KINDS) or len(set(parts)) < len(parts):
    raise InputError(
      f"no kind of weather {kind!r}; valid: {', '.join(KINDS)}, each once in mixtures such as "
      "rain+haze"
    )
  return parts


def draw(key: Array, options: WeatherOptions) -> Weather:
  """Draws the parameters of one sample.

  Each parameter has a key of its own: two options under one key differ in nothing else.
  """
  kinds = np.array([[part in parts_of(kind) for part in KINDS] for kind in options.kinds])
  kinds = kinds.reshape(-1, len(KINDS)).astype(np.float32)
  if not len(kinds):
    kinds = np.zeros((1, len(KINDS)), np.float32)
  kind = jax.random.randint(keys.fold(key, "kind"), (), 0, len(kinds))
  level = jax.random.randint(keys.fold(key, "level"), (), 0, len(options.levels))
  clear = jax.random.bernoulli(keys.fold(key, "clear"), options.clear)
  # Of the range itself, so that a level under the same key is more of the same weather.
  share = jax.random.uniform(keys.fold(key, "amount"), (len(KINDS),))
  low, high = jnp.moveaxis(jnp.array([LEVELS[name] for name in options.levels])[level], -1, 0)
  amounts = (low + (high - low) * share) * jnp.asarray(kinds)[kind] * ~clear
  models = jnp.array([name == "attenuated" for name in options.thermal])
  model = jax.random.randint(keys.fold(key, "thermal"), (), 0, len(models))
  return _particulars(key, amounts, models[model])


def of_strength(key: Array, kind: str, strength: Array | float) -> Weather:
  """Weather of one kind of `KINDS` in that amount, all else drawn; thermal model `physical`."""
  (part,) = parts_of(kind)
  amounts = jnp.array([float(name == part) for name in KINDS]) * strength
  return _particulars(key, amounts, jnp.array(False))


def _particulars(key: Array, amounts: Array, attenuated: Array) -> Weather:
  """The weather of these amounts [3], with particulars drawn."""

  def uniform(name: str, low: float, high: float, shape: tuple[int, ...] = ()) -> Array:
    return jax.random.uniform(keys.fold(key, name), shape, minval=low, maxval=high)

  def by_kind(name: str, ranges: tuple[tuple[float, float], ...]) -> Array:
    low, high = np.array(ranges, np.float32).T
    return low + (high - low) * uniform(name, 0, 1, (len(KINDS),))

  return Weather(
    *amounts,
    airlight=by_kind("airlight", _AIRLIGHT),
    tint=uniform("tint", -0.03, 0.03, (3,)),
    angle=uniform("angle", -0.44, 0.44),  # up to 25 degrees
    length=uniform("length", 0.75, 1.25),
    width=uniform("width", 0.5, 1.0),
    opacity=uniform("opacity", 0.6, 1.0),
    flakes=uniform("flakes", 0.85, 1.0),
    drift=uniform("drift", 0, np.pi),
    motion=uniform("motion", 0, 8),
    thermal_ratio=by_kind("thermal_ratio", _THERMAL_RATIO),
    attenuated=attenuated,
    air=uniform("air", 0, 1),
    gain=uniform("gain", 0.8, 1.2),
    thermal_noise=uniform("thermal_noise", 0.005, 0.02),
    row_noise=jnp.full((), 0.003),
    thermal_blur=uniform("thermal_blur", 0.0, 1.0),
  )
