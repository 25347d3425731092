"""Place of a rectangle of computation in an image, as small arrays along each axis.

The graph (`graph.py`) always computes on a window of fixed size: an image in a larger bucket, or a
tile with its surroundings. What depends on the true size of the image (where zeros or mirrored
pixels belong, which pixels average into a bin of the grid, with which weights a coarse level is
interpolated) enters as arguments, so one compiled program serves every size and every tile.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.images import ops


class Frame(NamedTuple):
  """Fields of a network that decide where its windows may lie (`model.ISFuse`)."""

  padding: str
  grid: int
  levels: int

  @property
  def align(self) -> int:
    """Windows start and end at multiples of so many pixels, where all levels have a position."""
    return 2 ** (self.levels - 1)

  @property
  def margin(self) -> int:
    """Pixels on each side of a whole image for mirrored ones; none with zero padding."""
    return 0 if self.padding == "zeros" else self.align

  @property
  def halo(self) -> int:
    """Pixels beyond a tile that reach its result, rounded up to a multiple of `align`.

    The head reaches 1; encoders, but the coarsest, 2 at their scale; the decoder 2, at coarser
    levels 3 with the interpolation; the coarsest level 4 for refine, gate and encoder, and 1 more
    for the interpolation.
    """
    coarsest = self.levels - 1
    finer = sum(2 * 2**level for level in range(coarsest))
    decoders = sum((3 if level else 2) * 2**level for level in range(coarsest))
    reach = 1 + finer + decoders + (5 if coarsest else 4) * 2**coarsest
    return -(-reach // self.align) * self.align


class Axis(NamedTuple):
  """Rows or columns of a window of n pixels, per level (n_k = n / 2^k positions).

  border: what a 3x3 convolution sees, [n_k]: with zero padding bool, whether inside the image;
    else int32, the position that holds the pixel's own or mirrored value. Empty where the window is
    the image and the zeros outside it are all that is needed.
  pool: [grid, n_k], the window's share of adaptive average pooling over the whole image.
  up: levels but the last, [2, 3, n_k / 2]: position 2 i + p of level k is the sum over t of
    up[p, t, i] times position i + t - 1 of level k + 1 (bilinear, half-pixel centres).
  """

  border: tuple[np.ndarray, ...]
  pool: tuple[np.ndarray, ...]
  up: tuple[np.ndarray, ...]


class Geometry(NamedTuple):
  """Both axes of a window."""

  rows: Axis
  columns: Axis


def axis(
  size: int | Array, start: int, length: int, frame: Frame, owned: tuple[int, float]
) -> Axis:
  """The arrays of the window [start, start + length) of an axis of `size` pixels.

  size: an int32 scalar of JAX gives arrays of JAX in float32, so that one traced program has them
    of any size.
  start and length are multiples of `align`; start may be negative and the end beyond the image.
  owned: only pixels in [owned[0], owned[1]) count in `pool`, so that overlapping windows add up;
  both are multiples of `align` or 0, or math.inf for the rest.
  """
  if start % frame.align or length % frame.align:
    raise ValueError(f"window {start}, {length} is not aligned to {frame.align}")
  border, pool, up = [], [], []
  for level in range(frame.levels):
    scale = 2**level
    n, position = size // scale, start // scale + np.arange(length // scale)
    border.append(_border(n, position, frame.padding))
    counted = (owned[0] / scale <= position) & (position < owned[1] / scale)
    pool.append(ops.pool_matrix(n, frame.grid, position) * counted[None])
    if level + 1 < frame.levels:
      up.append(_up(n, size // (2 * scale), position))
  return Axis(tuple(border), tuple(pool), tuple(up))


@functools.lru_cache(maxsize=64)
def whole(
  size: tuple[int, int], bucket: tuple[int, int], frame: Frame, borderless: bool = False
) -> tuple[tuple[int, int], Geometry]:
  """Start and geometry of the window of shape `bucket` that holds a whole image of `size`.

  borderless: leaves `border` empty; only where the image fills the window and is padded with zeros.
  The result is kept for the next image of this size: not to be changed.
  """
  start = -frame.margin
  sides = [
    axis(n, start, length, frame, (0, math.inf)) for n, length in zip(size, bucket, strict=True)
  ]
  if borderless:
    sides = [side._replace(border=()) for side in sides]
  return (start, start), Geometry(*sides)


def fills(size: tuple[int, int], bucket: tuple[int, int], frame: Frame) -> bool:
  """Whether an image of `size` needs no border in a window of shape `bucket`."""
  return frame.padding == "zeros" and tuple(size) == tuple(bucket)


def smallest_bucket(size: tuple[int, int], frame: Frame) -> tuple[int, int]:
  """The smallest window that holds a whole image of `size`."""
  return tuple(-(-n // frame.align) * frame.align + 2 * frame.margin for n in size)


def stack(geometries: list[Geometry], dtype: np.dtype) -> Geometry:
  """Geometries of a batch of windows of one shape: a leading batch axis, weights in `dtype`."""

  def join(*arrays):
    joined = np.stack(arrays)
    return joined.astype(dtype) if joined.dtype.kind == "f" else joined

  return _map(join, *geometries)


def _map(function, *geometries: Geometry) -> Geometry:
  sides = []
  for axes in zip(*geometries, strict=True):
    fields = zip(*axes, strict=True)
    sides.append(Axis(*(tuple(map(function, *field)) for field in fields)))
  return Geometry(*sides)


def _arithmetic(size: int | Array):
  """The library of `size`: JAX, where it is traced, or NumPy."""
  return jnp if isinstance(size, jax.Array) else np


def _border(size: int | Array, position: np.ndarray, padding: str) -> np.ndarray | Array:
  if padding == "zeros":
    return (position >= 0) & (position < size)
  library = _arithmetic(size)
  if padding == "reflect":  # the border pixel itself is not repeated
    mirrored = np.where(position < 0, -position, position)
    mirrored = library.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
  else:
    mirrored = library.clip(position, 0, size - 1)
  # Beyond the first pixel outside nothing is needed; stay inside the window.
  return library.clip(mirrored - position[0], 0, position.size - 1).astype(np.int32)


def _up(size: int | Array, coarse_size: int | Array, position: np.ndarray) -> np.ndarray | Array:
  """Weights [2, 3, n / 2] of `Axis.up`, as `ops.resize_matrix(coarse_size, size)`.

  Centres are counted in parts of a pixel, 2 size of them, so that float32 rounds weights alone.
  """
  library, pixel = _arithmetic(size), 2 * size
  centre = (2 * position + 1) * coarse_size - size
  centre = library.clip(centre, 0, pixel * (coarse_size - 1))[None]
  # size = 2 coarse_size or one more, so the two neighbours are among position // 2 + (-1, 0, 1).
  tap = position // 2 + np.arange(-1, 2)[:, None]
  weight = library.maximum(0.0, 1 - library.abs(centre - pixel * tap) / pixel)
  weight *= ((position >= 0) & (position < size))[None]
  return library.stack([weight[:, 0::2], weight[:, 1::2]])
