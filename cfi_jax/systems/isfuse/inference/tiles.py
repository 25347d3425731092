"""Exact tiling: how a large image is cut into windows of one shape, twice.

Keys and values are averages over the whole image, so a first pass sums every tile's share of them
and a second pass fuses every tile with the sums. A window reaches `HALO` pixels beyond its tile:
35 are needed (head 1; decoder 2; half-size: interpolation and decoder 2 * 3; quarter-size:
interpolation, refine, gate and two encoder convolutions 4 * 5, with the finer encoders 2 * 2 + 2).
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable

from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.inference.geometry import ALIGN, Geometry

HALO = 36  # the reach rounded up to a multiple of ALIGN
SMALLEST = 64  # side of the smallest tile worth its surroundings
CANDIDATES = 64  # shapes that are compared for tiles of many sizes


@dataclasses.dataclass(frozen=True)
class Tile:
  """One tile: pixels [start, stop) per axis are its own, its window begins at `window`."""

  start: tuple[int, int]
  stop: tuple[int, int]
  window: tuple[int, int]
  geometry: Geometry


def window_shape(size: tuple[int, int], max_pixels: float, padding: str) -> tuple[int, int]:
  """Shape of the windows for an image of `size`: at most `max_pixels`, near square, at least
  `SMALLEST` + 2 `HALO`; a side that fits is taken whole, and tiles of a side are about equal.
  """
  need = geometry.smallest_bucket(size, padding)
  smallest = SMALLEST + 2 * HALO
  side = max(smallest, math.isqrt(int(max_pixels)))
  shape = [min(n, side) for n in need]
  for this, other in ((0, 1), (1, 0)):  # what one side does not use, the other may
    shape[this] = min(need[this], max(smallest, int(max_pixels) // shape[other]))
  return tuple(_even(n, length // ALIGN * ALIGN) for n, length in zip(need, shape, strict=True))


def shared_shape(
  sizes: Iterable[tuple[int, int]], max_pixels: float, padding: str
) -> tuple[int, int]:
  """The shape of windows, see `window_shape`, that costs images of `sizes` together the least."""
  counts = collections.Counter(sizes)
  own = sorted({window_shape(size, max_pixels, padding) for size in counts})
  side = max(SMALLEST + 2 * HALO, math.isqrt(int(max_pixels)) // ALIGN * ALIGN)
  candidates = [*own[:: -(-len(own) // CANDIDATES)], (side, side)]  # the last suits every size

  def cost(shape: tuple[int, int]) -> float:
    windows = sum(n * _count(size, shape, padding) for size, n in counts.items())
    return windows * math.prod(shape)

  return min(candidates, key=cost)


def _count(size: tuple[int, int], shape: tuple[int, int], padding: str) -> float:
  """Number of windows that `cut` makes, infinite where a window has no room for a tile."""
  need = geometry.smallest_bucket(size, padding)
  own = [math.inf if m >= n else m - 2 * HALO for n, m in zip(need, shape, strict=True)]
  if min(own) <= 0:
    return math.inf
  return math.prod(max(1, math.ceil(n / o)) for n, o in zip(size, own, strict=True))


def cut(size: tuple[int, int], shape: tuple[int, int], grid: int, padding: str) -> list[Tile]:
  """The tiles of an image of `size` with windows of `shape`, in row-major order."""
  axes = [_cut_axis(n, length, grid, padding) for n, length in zip(size, shape, strict=True)]
  tiles = []
  for (rows, columns), axes_of_tile in _products(axes):
    start, stop, window = zip(rows, columns, strict=True)
    tiles.append(Tile(start, stop, window, Geometry(*axes_of_tile)))
  return tiles


def _products(axes):
  for row, column in itertools.product(*axes):
    yield (row[0], column[0]), (row[1], column[1])


def _even(need: int, length: int) -> int:
  """The shortest window with which a side needs no more tiles than with `length`."""
  if length >= need:
    return need
  count = -(-need // (length - 2 * HALO))
  own = -(-need // count)
  return -(-own // ALIGN) * ALIGN + 2 * HALO


def _cut_axis(size: int, length: int, grid: int, padding: str) -> list:
  """Per tile of one axis ((start, stop, window start), `geometry.Axis`)."""
  (whole,) = geometry.smallest_bucket((size,), padding)
  if length >= whole:
    starts, own, halo = [0], size, 0 if padding == "zeros" else geometry.MARGIN
  else:
    own, halo = length - 2 * HALO, HALO
    starts = range(0, size, own)
  tiles = []
  for start in starts:
    stop = min(start + own, size)
    owned = (start, math.inf if stop == size else stop)
    axis = geometry.axis(size, start - halo, length, grid, padding, owned)
    tiles.append(((start, stop, start - halo), axis))
  return tiles
