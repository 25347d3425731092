"""Regions, borders and sliding windows of images on a canvas.

Maps are [H, W] arrays of which the top left height x width are valid; `height` and `width` may be
traced. A window that would leave the canvas is dropped, so a map shrinks as its image does.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from cfi_jax.core.types import Array


@custom_vmap
def materialize(x):
  """Returns its argument, kept from being recomputed by everything that reads it.

  XLA's CPU backend fuses a stencil into each shifted read of its result (n times the work) and
  into reductions (no vector instructions): 20 times slower here. A branch that the compiler
  cannot decide stops it. Elsewhere this is the identity.
  """

  def branch(x):
    first = jax.tree.leaves(x)[0]
    never = first[(0,) * first.ndim] < -1e30
    return lax.cond(never, lambda x: jax.tree.map(_spoil, x), lambda x: x, x)

  return lax.platform_dependent(x, cpu=branch, default=lambda x: x)


def _spoil(x: Array) -> Array:
  """Sets the first entry of x to 0, in place: the cheapest way to differ."""
  return x.at[(0,) * x.ndim].set(jnp.zeros((), x.dtype))


@materialize.def_vmap
def _materialize_batch(axis_size, in_batched, x):
  del axis_size
  return materialize(x), in_batched[0]


def inside(shape: tuple[int, int], height, width) -> Array:
  """The pixels of the image on its canvas, bool [H, W]."""
  rows = lax.broadcasted_iota(jnp.int32, shape, 0)
  columns = lax.broadcasted_iota(jnp.int32, shape, 1)
  return (rows < height) & (columns < width)


def total(x: Array, height, width) -> Array:
  """Sum over the image, as a float; integers are summed exactly along rows (2**15 columns)."""
  chex.assert_rank(x, 2)
  x = jnp.where(inside(x.shape, height, width), x, jnp.zeros((), x.dtype))
  if jnp.issubdtype(x.dtype, jnp.integer):
    return x.sum(axis=1).astype(float).sum()
  return materialize(x).sum()


def mean(x: Array, height, width) -> Array:
  """Mean over the image, as a float."""
  return total(x, height, width) / area(height, width)


def area(height, width) -> Array:
  """Number of pixels, as a float."""
  return jnp.asarray(height, float) * jnp.asarray(width, float)


def extremes(x: Array, height, width) -> tuple[Array, Array]:
  """Minimum and maximum over the image."""
  chex.assert_rank(x, 2)
  region = inside(x.shape, height, width)
  first = x[0, 0]
  return jnp.where(region, x, first).min(), jnp.where(region, x, first).max()


def constant(x: Array, height, width) -> Array:
  """Whether all pixels of the image are equal, decided by their extremes and no float variance."""
  low, high = extremes(x, height, width)
  return low == high


def extend(x: Array, height, width, margin: int, border: str) -> Array:
  """Continues the image over its true edges, [H + 2 margin, W + 2 margin].

  border: "zero", "replicate" (the edge value) or "reflect" (mirror, edge pixel not repeated).
  """
  chex.assert_rank(x, 2)
  if border == "zero":
    kept = jnp.where(inside(x.shape, height, width), x, jnp.zeros((), x.dtype))
    return materialize(jnp.pad(kept, margin))
  rows = _source(x.shape[0], height, margin, border)
  columns = _source(x.shape[1], width, margin, border)
  return materialize(x[rows][:, columns])


def _source(size: int, length, margin: int, border: str) -> Array:
  """Indices of the pixels that the positions -margin .. size + margin - 1 show."""
  position = jnp.arange(-margin, size + margin)
  last = jnp.asarray(length, jnp.int32) - 1
  if border == "reflect":
    position = jnp.abs(position)
    position = jnp.where(position > last, 2 * last - position, position)
  return jnp.clip(position, 0, last)


def gaussian(size: int, sigma: float) -> np.ndarray:
  """Gaussian taps about the centre, float64 [size] of sum 1."""
  taps = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
  return taps / taps.sum()


def uniform(size: int) -> np.ndarray:
  """Equal taps, float64 [size] of sum 1."""
  return np.full(size, 1 / size)


def _shifts(x: Array, size: int, axis: int) -> list[Array]:
  length = x.shape[axis] - size + 1
  return [lax.slice_in_dim(x, k, k + length, axis=axis) for k in range(size)]


def _weighted(x: Array, taps: np.ndarray, axis: int) -> Array:
  """Weighted window mean along one axis, about the centre tap: exact where the window is flat."""
  shifts = _shifts(x, len(taps), axis)
  centre = shifts[len(taps) // 2]
  offsets = [float(g) * (s - centre) for g, s in zip(taps, shifts, strict=True)]
  return centre + sum(offsets[1:], offsets[0])


def smooth(x: Array, taps: np.ndarray) -> Array:
  """Separable window mean over full windows, [H - size + 1, W - size + 1]."""
  chex.assert_rank(x, 2)
  return materialize(_weighted(materialize(_weighted(x, taps, 1)), taps, 0))


def moments(
  images: Sequence[Array], pairs: tuple[tuple[int, int], ...], taps: np.ndarray
) -> tuple[list[Array], dict[tuple[int, int], Array]]:
  """Window means of images and window covariances of pairs of them, population form, full windows.

  Two stages, rows then columns, each about its own mean, joined by the law of total covariance:
  no cancellation, so float32 holds 1e-7 where E[xy] - E[x]E[y] loses every digit, and flat windows
  give exactly 0.

  Args:
    images: float maps [H, W].
    pairs: indices (i, j) into images; (i, i) gives the variance.
    taps: window weights along each axis, sum 1.

  Returns:
    means, one [H - size + 1, W - size + 1] per image, and {pair: covariance} of the same shape.
  """
  chex.assert_rank(list(images), 2)
  chex.assert_equal_shape(list(images))
  x, inner = list(images), None
  for axis in (1, 0):
    means = materialize([_weighted(image, taps, axis) for image in x])
    shifts = [_shifts(image, len(taps), axis) for image in x]
    covariances = []
    for index, (i, j) in enumerate(pairs):
      parts = [(p - means[i]) * (q - means[j]) for p, q in zip(shifts[i], shifts[j], strict=True)]
      if inner is not None:
        extra = _shifts(inner[index], len(taps), axis)
        parts = [p + c for p, c in zip(parts, extra, strict=True)]
      covariances.append(sum(float(g) * p for g, p in zip(taps, parts, strict=True)))
    x, inner = means, materialize(covariances)
  return x, dict(zip(pairs, inner, strict=True))


def halve(x: Array, height, width) -> tuple[Array, Array, Array]:
  """Means of 2x2 blocks from pixel (0, 0); a missing last row or column repeats the one before.

  Takes images [n, H, W]; returns them as [n, ceil(H/2), ceil(W/2)], and the halved height and
  width, rounded up.
  """
  chex.assert_rank(x, 3)
  x = jax.vmap(lambda image: extend(image, height, width, 1, "replicate")[1:, 1:])(x)
  rows, columns = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
  x = x[:, :rows, :columns]
  blocks = (x[:, 0::2, 0::2] + x[:, 1::2, 0::2]) + (x[:, 0::2, 1::2] + x[:, 1::2, 1::2])
  return materialize(blocks / 4), (height + 1) // 2, (width + 1) // 2
