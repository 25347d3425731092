"""Corruptions of a pair: noise, blur, misregistration, haze, rain, snow, a lost modality.

Each is f(key, pair, strength, depth) -> pair for ONE pair [H, W, 1] in [0, 1] and its depth
[H, W, 1], 0 near and 1 at the far end; `corrupt` maps it over a batch. Strength 0 changes nothing.
Under one key a greater strength is more of the same disturbance.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import assert_grey


@dataclasses.dataclass(frozen=True)
class Corruption:
  """A disturbance of one pair.

  apply: f(key, pair, strength, depth) -> pair in [0, 1], for one pair; strength may be traced.
  unit: the unit of strength. greatest: the greatest strength that makes sense.
  """

  apply: Callable[[Array, Pair, Array | float, Array], Pair]
  unit: str
  greatest: float

  def check(self, name: str, strength: float) -> None:
    """Raises InputError, under that name, for a strength that is out of range."""
    if not 0 <= strength <= self.greatest:  # refuses nan, too
      raise InputError(
        f"corruption {name}: strength {strength!r}; allowed: 0 to {self.greatest:g} ({self.unit})"
      )


def noise(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
  """Adds independent Gaussian noise of that standard deviation to both images."""
  assert_grey(pair, depth, rank=3)

  def add(key: Array, image: Array) -> Array:
    return _clip(image + strength * jax.random.normal(key, image.shape, image.dtype))

  visible_key, infrared_key = jax.random.split(key)
  return Pair(add(visible_key, pair.visible), add(infrared_key, pair.infrared))


def blur(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
  """Blurs both images by a Gaussian of that standard deviation in pixels.

  At the border the weights that fall inside the image are normalised: a constant stays constant.
  """
  assert_grey(pair, depth, rank=3)
  rows, columns = (_gaussian_matrix(size, strength) for size in pair.visible.shape[:2])
  return jax.tree.map(lambda image: _clip(ops.apply_matrices(rows, columns, image)), pair)


def misregistration(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
  """Moves the infrared image by so many pixels up, down, left or right; its edge is repeated.

  Shifts by whole pixels are exact; others interpolate linearly.
  """
  assert_grey(pair, depth, rank=3)
  along_rows, sign = jax.random.bernoulli(key, shape=(2,))
  shift = jnp.where(sign, strength, -strength)
  height, width = pair.infrared.shape[:2]
  rows = _shift_matrix(height, jnp.where(along_rows, shift, 0.0))
  columns = _shift_matrix(width, jnp.where(along_rows, 0.0, shift))
  return pair.replace(infrared=_clip(ops.apply_matrices(rows, columns, pair.infrared)))


def _weather(kind: str) -> Callable[[Array, Pair, Array | float, Array], Pair]:
  """The corruption by a kind of weather (`fusion.weather`), thermal model "physical"."""

  def apply(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
    assert_grey(pair, depth, rank=3)
    draw_key, key = jax.random.split(key)
    return weather_lib.degrade(key, pair, depth, weather_lib.of_strength(draw_key, kind, strength))

  return apply


def missing_visible(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
  """Takes that share of the visible image's intensity away; at 1 it is black."""
  assert_grey(pair, depth, rank=3)
  return pair.replace(visible=pair.visible * (1 - strength))


def missing_infrared(key: Array, pair: Pair, strength: Array | float, depth: Array) -> Pair:
  """Takes that share of the infrared image's intensity away; at 1 it is black."""
  assert_grey(pair, depth, rank=3)
  return pair.replace(infrared=pair.infrared * (1 - strength))


CORRUPTIONS = {
  "noise": Corruption(noise, "standard deviation, of the full range", 1.0),
  "blur": Corruption(blur, "standard deviation in pixels", 64.0),
  "misregistration": Corruption(misregistration, "pixels", 64.0),
  "haze": Corruption(_weather("haze"), "optical depth of the farthest", 20.0),
  "rain": Corruption(_weather("rain"), "mm/h", 300.0),
  "snow": Corruption(_weather("snow"), "share of the pixels that flakes cover", 0.5),
  "missing_visible": Corruption(missing_visible, "share of the intensity lost", 1.0),
  "missing_infrared": Corruption(missing_infrared, "share of the intensity lost", 1.0),
}


def get(name: str) -> Corruption:
  """The corruption of that name; `InputError` lists the valid names."""
  if name not in CORRUPTIONS:
    raise InputError(f"no corruption {name!r}; valid: {', '.join(CORRUPTIONS)}")
  return CORRUPTIONS[name]


def corrupt(name: str, key: Array, batch: Pair, strength: Array | float, depth: Array) -> Pair:
  """Disturbs a batch [B, H, W, 1] of that depth; sample i's key is folded from the name and i."""
  assert_grey(batch, depth, rank=4)
  corruption = get(name)
  draws = keys.per_sample(keys.fold(key, name), len(batch.visible))
  return jax.vmap(lambda k, p, d: corruption.apply(k, p, strength, d))(draws, batch, depth)


def _clip(image: Array) -> Array:
  return jnp.clip(image, 0, 1)


def _gaussian_matrix(size: int, deviation: Array | float) -> Array:
  """The matrix [size, size] that smooths one axis; the unit matrix at deviation 0."""
  distance = jnp.arange(size)[:, None] - jnp.arange(size)[None]
  weights = jnp.exp(-0.5 * (distance / jnp.maximum(deviation, 1e-3)) ** 2)
  return weights / weights.sum(1, keepdims=True)


def _shift_matrix(size: int, shift: Array | float) -> Array:
  """The matrix [size, size] that moves one axis by `shift` pixels up its indices, ends repeated."""
  source = jnp.clip(jnp.arange(size) - shift, 0, size - 1)
  return jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(size)[None]))
