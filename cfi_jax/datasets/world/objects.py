"""Visibility of known objects in a picture, by their contrast-to-noise ratio."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax

from cfi_jax.core.types import Array, InputError

# Standard deviation of rounding to 8-bit levels: no surroundings are quieter than that.
ROUNDING = 1 / (255 * 12**0.5)
LEAST_RING = 16  # pixels; fewer say nothing about the surroundings


@dataclasses.dataclass(frozen=True)
class ObjectOptions:
  """Criteria by which objects are judged.

  threshold: contrast-to-noise ratio from which on an object is visible.
  gap, width: the ring around an object begins `gap` pixels beyond its edge, so that the optics'
    blur stays out, and is `width` pixels wide.
  """

  threshold: float
  gap: int
  width: int

  def __post_init__(self):
    """Refuses what no ring or threshold can be."""
    for name, least in (("threshold", 0), ("gap", 0), ("width", 1)):
      if not getattr(self, name) >= least:
        raise InputError(f"objects.{name} is {getattr(self, name)}; allowed: {least} or more")


@functools.partial(jax.jit, static_argnames=("slots", "options"))
def contrast_to_noise(images: Array, objects: Array, slots: int, options: ObjectOptions) -> Array:
  """The contrast-to-noise ratio of every object in its picture, [N, slots].

  images: [N, H, W, 1] in [0, 1]. objects: int [N, H, W, 1], k + 1 at the pixels of the object in
  slot k, 0 elsewhere (`scenes.Scene.objects`).

    CNR = |mean inside - mean of the ring| / sqrt(variance of the ring + ROUNDING^2)

  The ring of an object is the pixels more than `gap` and at most `gap + width` pixels from it
  (Chebyshev distance) that are more than `gap` from every object; its variance is the population
  one, of noise and texture alike: what an observer must tell the object from. NaN for an empty
  slot and for a ring of fewer than `LEAST_RING` pixels; 0 in a constant picture.
  """
  return jax.vmap(lambda i, o: _contrast_to_noise(i[..., 0], o[..., 0], slots, options))(
    images, objects
  )


def _contrast_to_noise(image: Array, objects: Array, slots: int, options: ObjectOptions) -> Array:
  inside = objects[None] == jnp.arange(1, slots + 1)[:, None, None]
  far = _grow(objects[None] > 0, options.gap)
  ring = _grow(inside, options.gap + options.width) & ~far
  area, ring_area = inside.sum((1, 2)), ring.sum((1, 2))
  level = (image[None] * inside).sum((1, 2)) / jnp.maximum(area, 1)
  around = (image[None] * ring).sum((1, 2)) / jnp.maximum(ring_area, 1)
  squares = ((image[None] - around[:, None, None]) ** 2 * ring).sum((1, 2))
  variance = squares / jnp.maximum(ring_area, 1)
  ratio = jnp.abs(level - around) / jnp.sqrt(variance + ROUNDING**2)
  return jnp.where((area > 0) & (ring_area >= LEAST_RING), ratio, jnp.nan)


def _grow(masks: Array, pixels: int) -> Array:
  """Masks [K, H, W] and all pixels within that Chebyshev distance."""
  side = 2 * pixels + 1
  return lax.reduce_window(masks, False, lax.bitwise_or, (1, side, side), (1, 1, 1), "SAME")
