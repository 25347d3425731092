"""Exact tiling: how a large image is cut into windows of one shape, twice.

Keys and values are averages over the whole image, so a first pass sums every tile's share of them
and a second pass fuses every tile with the sums. A window reaches `Frame.halo` pixels beyond its
tile: 36 for three levels.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable

from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.inference.geometry import Frame, Geometry

SMALLEST = 64  # side of the smallest tile worth its surroundings
CANDIDATES = 64  # shapes that are compared for tiles of many sizes


@dataclasses.dataclass(frozen=True)
class Tile:
  """One tile: pixels [start, stop) per axis are its own, its window begins at `window`."""

  start: tuple[int, int]
  stop: tuple[int, int]
  window: tuple[int, int]
  geometry: Geometry


def window_shape(size: tuple[int, int], max_pixels: float, frame: Frame) -> tuple[int, int]:
  """Shape of the windows for an image of `size`: at most `max_pixels`, near square, at least
  `SMALLEST` + twice the halo; a side that fits is taken whole, and tiles of a side are about equal.
  """
  need = geometry.smallest_bucket(size, frame)
  smallest = SMALLEST + 2 * frame.halo
  side = max(smallest, math.isqrt(int(max_pixels)))
  shape = [min(n, side) for n in need]
  for this, other in ((0, 1), (1, 0)):  # what one side does not use, the other may
    shape[this] = min(need[this], max(smallest, int(max_pixels) // shape[other]))
  return tuple(
    _even(n, length // frame.align * frame.align, frame)
    for n, length in zip(need, shape, strict=True)
  )


def shared_shape(
  sizes: Iterable[tuple[int, int]], max_pixels: float, frame: Frame
) -> tuple[int, int]:
  """The shape of windows, see `window_shape`, that costs images of `sizes` together the least."""
  counts = collections.Counter(sizes)
  own = sorted({window_shape(size, max_pixels, frame) for size in counts})
  side = max(SMALLEST + 2 * frame.halo, math.isqrt(int(max_pixels)) // frame.align * frame.align)
  candidates = [*own[:: -(-len(own) // CANDIDATES)], (side, side)]  # the last suits every size

  def cost(shape: tuple[int, int]) -> float:
    windows = sum(n * _count(size, shape, frame) for size, n in counts.items())
    return windows * math.prod(shape)

  return min(candidates, key=cost)


def _count(size: tuple[int, int], shape: tuple[int, int], frame: Frame) -> float:
  """Number of windows that `cut` makes, infinite where a window has no room for a tile."""
  need = geometry.smallest_bucket(size, frame)
  own = [math.inf if m >= n else m - 2 * frame.halo for n, m in zip(need, shape, strict=True)]
  if min(own) <= 0:
    return math.inf
  return math.prod(max(1, math.ceil(n / o)) for n, o in zip(size, own, strict=True))


def cut(size: tuple[int, int], shape: tuple[int, int], frame: Frame) -> list[Tile]:
  """The tiles of an image of `size` with windows of `shape`, in row-major order."""
  axes = [_cut_axis(n, length, frame) for n, length in zip(size, shape, strict=True)]
  tiles = []
  for (rows, columns), axes_of_tile in _products(axes):
    start, stop, window = zip(rows, columns, strict=True)
    tiles.append(Tile(start, stop, window, Geometry(*axes_of_tile)))
  return tiles


def _products(axes):
  for row, column in itertools.product(*axes):
    yield (row[0], column[0]), (row[1], column[1])


def _even(need: int, length: int, frame: Frame) -> int:
  """The shortest window with which a side needs no more tiles than with `length`."""
  if length >= need:
    return need
  count = -(-need // (length - 2 * frame.halo))
  own = -(-need // count)
  return -(-own // frame.align) * frame.align + 2 * frame.halo


def _cut_axis(size: int, length: int, frame: Frame) -> list:
  """Per tile of one axis ((start, stop, window start), `geometry.Axis`)."""
  (whole,) = geometry.smallest_bucket((size,), frame)
  if length >= whole:
    starts, own, halo = [0], size, frame.margin
  else:
    own, halo = length - 2 * frame.halo, frame.halo
    starts = range(0, size, own)
  tiles = []
  for start in starts:
    stop = min(start + own, size)
    owned = (start, math.inf if stop == size else stop)
    axis = geometry.axis(size, start - halo, length, frame, owned)
    tiles.append(((start, stop, start - halo), axis))
  return tiles
