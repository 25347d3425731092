"""Corruptions of a pair: noise, blur, misregistration, fog, rain, a lost modality.

Each is f(key, pair, strength) -> pair for ONE pair [H, W, 1] in [0, 1]; `corrupt` maps it over a
batch. Strength 0 changes nothing. Under one key a greater strength is more of the same disturbance.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import assert_grey

# Brightness of scattered daylight, the range of RESIDE (Li et al. 2019, "Benchmarking Single-Image
# Dehazing and Beyond").
AIRLIGHT = (0.7, 1.0)
# Scattering dims the scene but not the noise of the sensor: what it took of noise of this standard
# deviation is added again. Without that fog would cost no contrast-to-noise at all.
SENSOR_NOISE = 0.01
RAIN_DISTANCE = 0.1  # km of rain between the scene and the camera
# Cubic metres of air whose drops of more than 1 mm streak one pixel column; our choice, so that
# streaks cover about an eighth of the picture in 50 mm/h.
RAIN_VOLUME = 2e-3
STREAK_ROWS = 12  # a streak is one twelfth of the height long
STREAK_SLOPE = 0.3  # columns per row at most
STREAK_OPACITY = (0.1, 0.5)


@dataclasses.dataclass(frozen=True)
class Corruption:
  """A disturbance of one pair.

  apply: f(key, pair, strength) -> pair in [0, 1], for one pair; strength may be traced.
  unit: the unit of strength. greatest: the greatest strength that makes sense.
  """

  apply: Callable[[Array, Pair, Array | float], Pair]
  unit: str
  greatest: float

  def check(self, name: str, strength: float) -> None:
    """Raises InputError, under that name, for a strength that is out of range."""
    if not 0 <= strength <= self.greatest:  # refuses nan, too
      raise InputError(
        f"corruption {name}: strength {strength!r}; allowed: 0 to {self.greatest:g} ({self.unit})"
      )


def noise(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Adds independent Gaussian noise of that standard deviation to both images."""
  assert_grey(pair, rank=3)

  def add(key: Array, image: Array) -> Array:
    return _clip(image + strength * jax.random.normal(key, image.shape, image.dtype))

  visible_key, infrared_key = jax.random.split(key)
  return Pair(add(visible_key, pair.visible), add(infrared_key, pair.infrared))


def blur(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Blurs both images by a Gaussian of that standard deviation in pixels.

  At the border the weights that fall inside the image are normalised: a constant stays constant.
  """
  assert_grey(pair, rank=3)
  rows, columns = (_gaussian_matrix(size, strength) for size in pair.visible.shape[:2])
  return jax.tree.map(lambda image: _clip(ops.apply_matrices(rows, columns, image)), pair)


def misregistration(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Moves the infrared image by so many pixels up, down, left or right; its edge is repeated.

  Shifts by whole pixels are exact; others interpolate linearly.
  """
  assert_grey(pair, rank=3)
  along_rows, sign = jax.random.bernoulli(key, shape=(2,))
  shift = jnp.where(sign, strength, -strength)
  height, width = pair.infrared.shape[:2]
  rows = _shift_matrix(height, jnp.where(along_rows, shift, 0.0))
  columns = _shift_matrix(width, jnp.where(along_rows, 0.0, shift))
  return pair.replace(infrared=_clip(ops.apply_matrices(rows, columns, pair.infrared)))


def fog(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Covers the visible image with fog of that optical depth, extinction times distance.

  V' = V t + A (1 - t) + noise, t = exp(-strength), A drawn from `AIRLIGHT`: atmospheric scattering
  (Koschmieder 1924; Narasimhan and Nayar 2002) with the scene at one distance. The noise is that of
  the sensor (`SENSOR_NOISE`). At depth 3.0 the scene is at the limit of the meteorological optical
  range, 5 % of contrast left. Long-wave infrared is left as it is.
  """
  assert_grey(pair, rank=3)
  noise_key, light_key = jax.random.split(key)
  light = jax.random.uniform(light_key, (), minval=AIRLIGHT[0], maxval=AIRLIGHT[1])
  return pair.replace(visible=_clip(_scatter(noise_key, pair.visible, strength, light)))


def rain(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Lets that many mm/h of rain fall in the visible image: far drops scatter, near ones streak.

  Far drops are a fog with extinction 0.312 R^0.67 per km over `RAIN_DISTANCE` (Halder et al. 2019,
  "Physics-Based Rendering for Improving Robustness to Rain"). Streaks are parallel and blended,
  V' = (1 - a) V + a A, each of its own opacity a: brighter than the background (Garg and Nayar
  2007, "Vision and Rain"). Their number is that of drops of more than 1 mm in `RAIN_VOLUME`,
  N = 8000 / L exp(-L) per cubic metre with L = 4.1 R^-0.21 per mm (Marshall and Palmer 1948). Their
  length and opacity are our choice. Infrared is left as it is.
  """
  assert_grey(pair, rank=3)
  noise_key, light_key, heads_key, opacity_key, slope_key = jax.random.split(key, 5)
  light = jax.random.uniform(light_key, (), minval=AIRLIGHT[0], maxval=AIRLIGHT[1])
  height, width = pair.visible.shape[:2]
  rate = 4.1 * strength**-0.21
  drops = 8000 / rate * jnp.exp(-rate)
  heads = jax.random.uniform(heads_key, (height, width)) < drops * RAIN_VOLUME / height
  low, high = STREAK_OPACITY
  opacity = heads * jax.random.uniform(opacity_key, (height, width), minval=low, maxval=high)
  slope = jax.random.uniform(slope_key, minval=-STREAK_SLOPE, maxval=STREAK_SLOPE)

  def longer(k: Array, streaks: Array) -> Array:
    column = jnp.round(k * slope).astype(jnp.int32)
    return jnp.maximum(streaks, jnp.roll(opacity, (k, column), (0, 1)))

  streaks = jax.lax.fori_loop(1, max(1, height // STREAK_ROWS), longer, opacity)[..., None]
  scene = _scatter(noise_key, pair.visible, 0.312 * strength**0.67 * RAIN_DISTANCE, light)
  return pair.replace(visible=_clip((1 - streaks) * scene + streaks * light))


def missing_visible(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Takes that share of the visible image's intensity away; at 1 it is black."""
  assert_grey(pair, rank=3)
  return pair.replace(visible=pair.visible * (1 - strength))


def missing_infrared(key: Array, pair: Pair, strength: Array | float) -> Pair:
  """Takes that share of the infrared image's intensity away; at 1 it is black."""
  assert_grey(pair, rank=3)
  return pair.replace(infrared=pair.infrared * (1 - strength))


CORRUPTIONS = {
  "noise": Corruption(noise, "standard deviation, of the full range", 1.0),
  "blur": Corruption(blur, "standard deviation in pixels", 64.0),
  "misregistration": Corruption(misregistration, "pixels", 64.0),
  "fog": Corruption(fog, "optical depth", 20.0),
  "rain": Corruption(rain, "mm/h", 300.0),
  "missing_visible": Corruption(missing_visible, "share of the intensity lost", 1.0),
  "missing_infrared": Corruption(missing_infrared, "share of the intensity lost", 1.0),
}


def get(name: str) -> Corruption:
  """The corruption of that name; `InputError` lists the valid names."""
  if name not in CORRUPTIONS:
    raise InputError(f"no corruption {name!r}; valid: {', '.join(CORRUPTIONS)}")
  return CORRUPTIONS[name]


def corrupt(name: str, key: Array, batch: Pair, strength: Array | float) -> Pair:
  """Disturbs a batch [B, H, W, 1]; sample i's key is folded from the name and i."""
  assert_grey(batch, rank=4)
  corruption = get(name)
  draws = keys.per_sample(keys.fold(key, name), len(batch.visible))
  return jax.vmap(lambda k, p: corruption.apply(k, p, strength))(draws, batch)


def _clip(image: Array) -> Array:
  return jnp.clip(image, 0, 1)


def _scatter(key: Array, image: Array, depth: Array | float, light: Array) -> Array:
  """Shows an image through a medium of that optical depth, lit to `light`; not clipped."""
  kept = jnp.exp(-jnp.asarray(depth, image.dtype))
  lost_noise = SENSOR_NOISE * jnp.sqrt(1 - kept**2)
  seen = image * kept + light * (1 - kept)
  return seen + lost_noise * jax.random.normal(key, image.shape, image.dtype)


def _gaussian_matrix(size: int, deviation: Array | float) -> Array:
  """The matrix [size, size] that smooths one axis; the unit matrix at deviation 0."""
  distance = jnp.arange(size)[:, None] - jnp.arange(size)[None]
  weights = jnp.exp(-0.5 * (distance / jnp.maximum(deviation, 1e-3)) ** 2)
  return weights / weights.sum(1, keepdims=True)


def _shift_matrix(size: int, shift: Array | float) -> Array:
  """The matrix [size, size] that moves one axis by `shift` pixels up its indices, ends repeated."""
  source = jnp.clip(jnp.arange(size) - shift, 0, size - 1)
  return jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(size)[None]))
