"""Feature maps of the FMI family: pixels, gradient, edges, cosine transform."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cfi_jax.core.types import Array
from cfi_jax.metrics.statistics import doubled_gradient, sobel
from cfi_jax.metrics.windows import constant, inside, materialize, mean


def pixels(x: Array, height, width) -> Array:
  """The levels themselves, as floats."""
  chex.assert_rank(x, 2)
  return x.astype(float)


@jax.jit
def gradient(x: Array, height, width) -> Array:
  """The horizontal central gradient, doubled (a window's scale does not matter): integers."""
  return doubled_gradient(x, height, width)[0].astype(float)


@jax.jit
def edges(x: Array, height, width) -> Array:
  """MATLAB's Sobel edge map with automatic threshold: 1 on thin ridges of the gradient, else 0.

  A pixel is an edge where b = (X^2 + Y^2) / 64 exceeds 4 mean(b) and is a ridge along X or along Y.
  All decisions are made on exact integers.
  """
  across, down = sobel(x, height, width, "replicate")
  square = across * across + down * down
  region = inside(x.shape, height, width)
  strong = square > _floor_mean(jnp.where(region, 4 * square, 0), height, width)
  # beyond the image: any neighbour there counts as passed, whichever the comparison
  bordered = jnp.pad(jnp.where(region, square, -1), 1, constant_values=-1)
  left, right = bordered[1:-1, :-2], bordered[1:-1, 2:]
  up, below = bordered[:-2, 1:-1], bordered[2:, 1:-1]
  ridge_across = (jnp.abs(across) >= jnp.abs(down)) & (left <= square) & (square > right)
  ridge_down = (jnp.abs(down) >= jnp.abs(across)) & (up <= square) & (square > below)
  return (strong & (ridge_across | ridge_down)).astype(float)


def _floor_mean(x: Array, height, width) -> Array:
  """floor(mean) of integers 0 <= x < 2^24 over the image, exact up to 2^26 pixels.

  Long division in base 16, digit by digit, since the sum does not fit 32 bits.
  """
  count = jnp.asarray(height, jnp.uint32) * jnp.asarray(width, jnp.uint32)
  x = materialize(x.astype(jnp.uint32))
  quotient = remainder = jnp.uint32(0)
  for shift in range(20, -1, -4):
    digits = ((x >> shift) & 15).sum(axis=1).sum()
    remainder = remainder * 16 + digits
    quotient = quotient * 16 + remainder // count
    remainder = remainder % count
  return quotient.astype(jnp.int32)


@jax.jit
def cosines(x: Array, height, width) -> Array:
  """Orthonormal two-dimensional cosine transform (DCT-II) of the whole image.

  A constant image gives exact zeros but for the first coefficient.
  """
  chex.assert_rank(x, 2)
  region = inside(x.shape, height, width)
  pivot = jnp.round(mean(x, height, width)).astype(jnp.int32)
  offsets = jnp.where(region & ~constant(x, height, width), x - pivot, 0).astype(float)
  rows, columns = _cosine_matrix(x.shape[0], height), _cosine_matrix(x.shape[1], width)
  exact = lax.Precision.HIGHEST
  transformed = jnp.matmul(jnp.matmul(rows, offsets, precision=exact), columns.T, precision=exact)
  norm = jnp.sqrt(jnp.asarray(height, float)) * jnp.sqrt(jnp.asarray(width, float))
  return materialize(transformed.at[0, 0].add(pivot.astype(float) * norm))


def _cosine_matrix(size: int, length) -> Array:
  """The orthonormal DCT-II of vectors of `length` entries, zero beyond them, [size, size]."""
  length = jnp.asarray(length, jnp.int32)
  k = lax.broadcasted_iota(jnp.int32, (size, size), 0)
  n = lax.broadcasted_iota(jnp.int32, (size, size), 1)
  # cos(pi j / (2 length)) with j = (2n + 1) k brought to the first quarter turn, exactly
  j = ((2 * n + 1) * k) % (4 * length)
  j = jnp.minimum(j, 4 * length - j)
  negative = j > length
  j = jnp.where(negative, 2 * length - j, j)
  quarter = np.pi / 2 / length.astype(float)
  near = 2 * j <= length
  angle = jnp.where(near, j, length - j).astype(float) * quarter
  cosine = jnp.where(near, jnp.cos(angle), jnp.sin(angle))
  scale = jnp.sqrt(jnp.where(k == 0, 1.0, 2.0) / length.astype(float))
  entry = jnp.where(negative, -cosine, cosine) * scale
  return materialize(jnp.where(k < length, entry, 0.0))
