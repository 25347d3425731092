"""Contents of the holes that masks make in training."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.images import ops


def _of_value(key: Array, image: Array, value: float, most: float) -> Array:
  return jnp.full_like(image, value)


def _of_any_value(key: Array, image: Array, value: float, most: float) -> Array:
  return jnp.full_like(image, most) * jax.random.uniform(key, (), image.dtype)


def _of_noise(key: Array, image: Array, value: float, most: float) -> Array:
  """Grey levels between two that are drawn, smooth over some pixels or not at all."""
  ends_key, size_key, fine_key, coarse_key = jax.random.split(key, 4)
  low, high = most * jnp.sort(jax.random.uniform(ends_key, (2,), image.dtype))
  height, width = image.shape[:2]
  fine = jax.random.uniform(fine_key, image.shape, image.dtype)
  cells = (max(1, height // 8), max(1, width // 8), 1)
  coarse = ops.resize(jax.random.uniform(coarse_key, cells, image.dtype), height, width)
  share = jax.random.uniform(size_key, (), image.dtype)
  return low + (high - low) * (share * fine + (1 - share) * coarse)


def _of_elsewhere(key: Array, image: Array, value: float, most: float) -> Array:
  """Another part of the image."""
  height, width = image.shape[:2]
  shift_key, turn_key = jax.random.split(key)
  shares = jax.random.uniform(shift_key, (2,), minval=0.25, maxval=0.75)
  moved = jnp.roll(image, (shares * jnp.array([height, width])).astype(int), (0, 1))
  return jnp.where(jax.random.bernoulli(turn_key), moved, moved[::-1])


# What a hole may hold: f(key, image [H, W, 1], value=, most=) -> image, most: the greatest level.
FILLS = {
  "value": _of_value,
  "any value": _of_any_value,
  "noise": _of_noise,
  "elsewhere": _of_elsewhere,
}
