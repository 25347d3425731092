"""Variations of a pair as other cameras would have taken it, for training that generalises; ours.

A data set holds the tone curves, the noise and the optics of its own few cameras. What a network
learns of them besides the scene does not travel to others.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import assert_grey

SHARPEST = 0.25  # standard deviation of the window that samples between pixels, in pixels


@dataclasses.dataclass(frozen=True)
class CameraOptions:
  """Ranges that a camera is drawn from, uniformly unless said.

  probability: of a varied pair; 0 varies none.
  gamma: exponent of the tone curve, its logarithm uniform. gain: factor on the contrast around a
    grey of 1/2. offset: most of what is added to or taken from all pixels.
  noise: most standard deviation of independent noise. pattern: the same of noise that all pixels of
    a column share, in the infrared image.
  blur: most standard deviation of a Gaussian blur in pixels.
  zoom: pixels of the varied picture for each of the given, its logarithm uniform.
  misaligned: most shift of the infrared image against the visible one, in pixels.
  inverted: probability of an infrared image with cold things white.
  """

  probability: float
  gamma: tuple[float, float]
  gain: tuple[float, float]
  offset: float
  noise: float
  pattern: float
  blur: float
  zoom: tuple[float, float]
  misaligned: float
  inverted: float

  def __post_init__(self):
    """Refuses ranges that draw nothing."""
    for name in ("gamma", "gain", "zoom"):
      low, high = getattr(self, name)
      if not 0 < low <= high < math.inf:
        raise InputError(f"cameras.{name} is {(low, high)}; allowed: 0 < least <= greatest")
    for name in ("offset", "noise", "pattern", "blur", "misaligned"):
      if not 0 <= getattr(self, name) < math.inf:
        raise InputError(f"cameras.{name} is {getattr(self, name)}; allowed: finite, 0 or more")
    for name in ("probability", "inverted"):
      if not 0 <= getattr(self, name) <= 1:
        raise InputError(f"cameras.{name} is {getattr(self, name)}; allowed: 0 to 1")


def vary(key: Array, pair: Pair, options: CameraOptions) -> Pair:
  """The pair [H, W, 1] in [0, 1] by other cameras, or as it is; see `CameraOptions`."""
  assert_grey(pair, rank=3)
  # Blur is each camera's own, shift the infrared one's; zoom is that of both.
  own = Pair(key, keys.fold(key, "misaligned"))
  shift = options.misaligned * jax.random.uniform(own.infrared, (2,), minval=-1)
  visible = _place(key, own.visible, pair.visible, jnp.zeros(2), options)
  infrared = _place(key, own.infrared, pair.infrared, shift, options)
  varied = Pair(
    _look(keys.fold(key, "visible"), visible, options),
    _look(keys.fold(key, "infrared"), infrared, options),
  )
  size = options.pattern * jax.random.uniform(keys.fold(key, "pattern size"))
  columns = jax.random.normal(keys.fold(key, "pattern"), (1, pair.infrared.shape[1], 1))
  white_hot = jnp.clip(varied.infrared + size * columns, 0, 1)
  cold = jax.random.bernoulli(keys.fold(key, "inverted"), options.inverted)
  varied = varied.replace(infrared=jnp.where(cold, 1 - white_hot, white_hot))
  chosen = jax.random.bernoulli(keys.fold(key, "varied"), options.probability)
  return jax.tree.map(lambda new, old: jnp.where(chosen, new.astype(old.dtype), old), varied, pair)


def vary_batch(key: Array, batch: Pair, options: CameraOptions) -> Pair:
  """`vary` of every pair of a batch [B, H, W, 1]; sample i has the key of i."""
  assert_grey(batch, rank=4)
  draws = keys.per_sample(keys.fold(key, "cameras"), len(batch.visible))
  return jax.vmap(lambda k, p: vary(k, p, options))(draws, batch)


def _place(key: Array, own: Array, image: Array, shift: Array, options: CameraOptions) -> Array:
  """The image enlarged or made smaller, shifted and blurred; mirrored beyond its border.

  key: of what both images share; own: of what they do not.
  """
  low, high = map(math.log, options.zoom)
  zoom = jnp.exp(jax.random.uniform(keys.fold(key, "zoom"), minval=low, maxval=high))
  blur = options.blur * jax.random.uniform(keys.fold(own, "blur")) ** 2
  width = jnp.sqrt(SHARPEST**2 + blur**2)
  middle = jax.random.uniform(keys.fold(key, "middle"), (2,))
  rows, columns = (
    _sampling(size, zoom, middle[axis], shift[axis], width)
    for axis, size in enumerate(image.shape[:2])
  )
  return ops.apply_matrices(rows, columns, image)


def _sampling(size: int, zoom: Array, middle: Array, shift: Array, width: Array) -> Array:
  """The matrix [size, size] that samples an axis `zoom` times as densely, around a place."""
  pixels = jnp.arange(size)
  place = middle * (size - 1) + (pixels - middle * (size - 1)) / zoom + shift
  period = 2 * (size - 1)
  place = jnp.abs((place + size - 1) % period - (size - 1))
  width = jnp.maximum(width, 0.5 / zoom - 0.5)  # fewer pixels than before: their means
  weights = jnp.exp(-jnp.square((pixels[None] - place[:, None]) / width) / 2)
  return weights / weights.sum(1, keepdims=True)


def _look(key: Array, image: Array, options: CameraOptions) -> Array:
  """The image with another tone curve and with noise."""
  gamma_key, gain_key, offset_key, size_key, noise_key = jax.random.split(key, 5)
  low, high = map(math.log, options.gamma)
  gamma = jnp.exp(jax.random.uniform(gamma_key, minval=low, maxval=high))
  gain = jax.random.uniform(gain_key, minval=options.gain[0], maxval=options.gain[1])
  offset = options.offset * jax.random.uniform(offset_key, minval=-1)
  curve = jnp.exp(gamma * jnp.log(jnp.clip(image, 1e-6, 1)))
  toned = jnp.clip(0.5 + gain * (curve - 0.5) + offset, 0, 1)
  size = options.noise * jax.random.uniform(size_key) ** 2
  return jnp.clip(toned + size * jax.random.normal(noise_key, image.shape), 0, 1)
