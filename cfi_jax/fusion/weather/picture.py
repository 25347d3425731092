"""Weather on the picture of a file, of any size: a seed and the picture's name alone decide it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core import keys
from cfi_jax.core.types import Array
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather.conditions import Weather, WeatherOptions, draw
from cfi_jax.fusion.weather.degrade import degrade
from cfi_jax.fusion.weather.depth import surrogate
from cfi_jax.fusion.weather.visible import HEIGHT

CANVAS = 128  # pixels
LAST_SEED = 2**31 - 1


def on_picture(seed: int, name: str, pair: Pair, options: WeatherOptions) -> tuple[Pair, Weather]:
  """A pair under weather that is drawn, and what was drawn.

  seed, name: decide the weather, 0 to `LAST_SEED` and any text. Other options under the same ones
    differ in nothing else, see `draw`.
  pair: arrays of NumPy in [0, 1], visible [H, W, C] and infrared [H, W, 1]; so is the result,
    float32. The depth is `depth.surrogate`.
  Computed on the pair mirrored to sides of whole `CANVAS`, so that few programs serve all sizes.
  """
  chex.assert_rank([pair.visible, pair.infrared], 3)
  height, width = pair.infrared.shape[:2]
  beyond = [(0, -side % CANVAS) for side in (height, width)]
  canvas = jax.tree.map(lambda image: np.pad(image, [*beyond, (0, 0)], mode="symmetric"), pair)
  bottom = np.float32(1 + beyond[0][1] / height)  # of the canvas, in heights of the picture
  key = keys.fold(jax.random.key(seed), name)
  drawn = _draw(key, options)
  seen = _degrade(key, canvas, bottom, np.float32(height / HEIGHT), drawn)
  return jax.tree.map(lambda image: np.asarray(image)[:height, :width], seen), drawn


@functools.partial(jax.jit, static_argnums=1)
def _draw(key: Array, options: WeatherOptions) -> Weather:
  """`draw` under its part of the key."""
  return draw(keys.fold(key, "draw"), options)


@jax.jit
def _degrade(key: Array, pair: Pair, bottom: Array, scale: Array, weather: Weather) -> Pair:
  """`degrade` with the depth of `surrogate`: one program per size, whatever the weather."""
  window = (jnp.float32(0), bottom)
  depth = surrogate(keys.fold(key, "depth"), pair.visible, window=window)
  return degrade(keys.fold(key, "degrade"), pair, depth, weather, scale=scale)
