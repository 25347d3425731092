"""The search for a similarity: masked correlation of edges by FFT, over scales and angles.

For all offsets at once, of every scale and angle of a grid, the normalised cross-correlation of the
features of both images where they overlap. Those of several pairs of one rig are correlated
together: their products are summed before they are normalised.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import fft

from cfi_jax.images import warp
from cfi_jax.registration import features

OVERLAP = 0.6  # of the smaller image, at least
PEAKS = 2  # places that are taken of one scale and angle
NEAR = 0.06  # of the width: places of one scale and angle are farther apart


@dataclasses.dataclass(frozen=True)
class Grid:
  """The scales and angles that are tried.

  scales: width of the infrared camera's field of view over that of the visible one.
  angles: of the infrared image in radians. width: in pixels, that the visible images are shrunk to.
  """

  scales: tuple[float, ...]
  angles: tuple[float, ...]
  width: int


COARSE = Grid(
  tuple(np.exp(np.linspace(np.log(0.55), np.log(1.75), 20))),
  tuple(np.deg2rad(np.arange(-9, 9.1, 3))),
  128,
)


def around(scale: float, angle: float) -> Grid:
  """A finer grid around a scale and an angle of `COARSE`."""
  scales = scale * np.exp([-0.03, 0.0, 0.03])
  return Grid(tuple(scales), tuple(angle + np.deg2rad([-1.5, 0.0, 1.5])), 128)


@dataclasses.dataclass(frozen=True)
class Place:
  """A place that was found.

  matrix: from visible to infrared pixels. ncc: of the features there. score: the same times the
  fourth root of the overlap, as chance correlates small overlaps better.
  """

  score: float
  ncc: float
  matrix: np.ndarray
  scale: float
  angle: float


def search(
  visibles: Sequence[np.ndarray],
  infrareds: Sequence[np.ndarray],
  grid: Grid = COARSE,
  pairings: Sequence[Sequence[int]] | None = None,
) -> list[list[Place]]:
  """The best places of each scale and angle, best first, for each pairing.

  visibles, infrareds: float32 [H, W] of values 0 to 255, each kind of one size. pairings: indices
    of the infrared image of each visible one; the pairs as they are given by default.
  """
  pairings = [range(len(visibles))] if pairings is None else pairings
  small, shrink = zip(*(features.at_width(image, grid.width) for image in visibles), strict=True)
  fixed = _centred(features.edges(np.stack(small)))
  found: list[list[Place]] = [[] for _ in pairings]
  for scale in grid.scales:
    moving = _Moving.make(infrareds, scale, grid)
    for k, angle, places in _correlate(fixed, moving, grid.angles, pairings):
      for score, ncc, x, y in places:
        matrix = moving.backs[grid.angles.index(angle)] @ warp.shift(-x, -y) @ shrink[0]
        found[k].append(Place(score, ncc, matrix, scale, angle))
  return [sorted(places, key=lambda place: -place.score) for places in found]


@dataclasses.dataclass(frozen=True)
class _Moving:
  """The infrared images at one scale and all angles.

  maps: features [A, P, 3, H, W], 0 outside. masks: [A, H, W], where the turned images lie. backs:
  of each angle the homography from its pixels to those of the infrared image.
  """

  maps: np.ndarray
  masks: np.ndarray
  backs: list[np.ndarray]

  @classmethod
  def make(cls, infrareds: Sequence[np.ndarray], scale: float, grid: Grid) -> "_Moving":
    whole = infrareds[0].shape
    width = max(12, round(scale * grid.width))
    size = max(9, round(whole[0] * width / whole[1])), width
    images = np.stack([warp.resize(image, size) for image in infrareds])
    most = max(map(abs, grid.angles))
    box = _turned(size, most)
    y, x = np.mgrid[: box[0], : box[1]].astype(np.float64)
    turned, masks, backs = [], [], []
    for angle in grid.angles:
      back = _turn(size, box, angle)
      u, v = warp.transform(back, x, y)
      turned.append(warp.sample(images, u, v))
      masks.append(warp.inside(u, v, size))
      backs.append(warp.scaling(size, whole) @ back)
    weights = np.stack(masks).astype(np.float32)
    maps = _centred(features.edges(np.stack(turned)), weights[:, None, None])
    return cls(maps, weights, backs)


def _turned(size: tuple[int, int], angle: float) -> tuple[int, int]:
  """The size (height, width) of the box around an image that is turned."""
  height, width = size
  cosine, sine = math.cos(angle), abs(math.sin(angle))
  return math.ceil(width * sine + height * cosine), math.ceil(width * cosine + height * sine)


def _turn(size: tuple[int, int], box: tuple[int, int], angle: float) -> np.ndarray:
  """The homography from pixels of the box to those of the image, which is turned in its middle."""
  cosine, sine = math.cos(angle), math.sin(angle)
  turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
  (top, left), (middle, centre) = (((n - 1) / 2, (m - 1) / 2) for n, m in (size, box))
  return warp.shift(left, top) @ turn @ warp.shift(-centre, -middle)


def _centred(maps: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
  """Maps [..., H, W] less their means; those with weights [..., H, W], times these."""
  if weights is None:
    return maps - maps.mean((-2, -1), keepdims=True)
  means = (maps * weights).sum((-2, -1), keepdims=True) / weights.sum((-2, -1), keepdims=True)
  return (maps - means) * weights


def _correlate(
  fixed: np.ndarray,
  moving: _Moving,
  angles: Sequence[float],
  pairings: Sequence[Sequence[int]],
) -> Iterator[tuple[int, float, list[tuple[float, float, int, int]]]]:
  """The index of each pairing, each angle, and the best (score, ncc, x, y) of these.

  fixed: features [P, 3, H, W] of the visible images; x, y: offset of the box in their pixels.
  """
  height, width = fixed.shape[-2:]
  least = OVERLAP * np.minimum(moving.masks.sum((-2, -1)), height * width)
  x = _Offsets.make(
    width, moving.masks.shape[-1], least.min() / min(height, moving.masks.shape[-2])
  )
  y = _Offsets.make(
    height, moving.masks.shape[-2], least.min() / min(width, moving.masks.shape[-1])
  )
  shape = y.period, x.period

  def forward(maps: np.ndarray) -> np.ndarray:
    return fft.rfft2(maps, shape)

  def backward(spectra: np.ndarray) -> np.ndarray:
    values = fft.irfft2(spectra, shape)
    return values[..., y.index, :][..., x.index]

  ones, energy = forward(np.stack([np.ones((height, width), np.float32), _energy(fixed)]))
  spectra = forward(fixed)
  for k, angle in enumerate(angles):
    own = np.conj(forward(moving.maps[k]))
    mask = np.conj(forward(moving.masks[k]))
    others = np.conj(forward(_energy(moving.maps[k])))
    count, first, second = backward(np.stack([ones * mask, energy * mask, ones * others]))
    scale = 1 / np.sqrt(np.maximum(first * second, 1e-3))
    allowed = count > least[k]
    for index, pairing in enumerate(pairings):
      # One by one: products of all at once would not fit into the processor's cache.
      products = (
        np.einsum("chw,chw->hw", a, own[p]) for a, p in zip(spectra, pairing, strict=True)
      )
      ncc = backward(sum(products)) * scale
      score = np.where(allowed, weighted(ncc, count, width), -1)
      peaks = _peaks(score, max(2, round(NEAR * width)))
      yield (
        index,
        angle,
        [(float(score[p]), float(ncc[p]), x.offset[p[1]], y.offset[p[0]]) for p in peaks],
      )


def weighted(ncc: np.ndarray, count: np.ndarray, width: int) -> np.ndarray:
  """Correlations times the fourth root of the overlap, `count` pixels, over half a square."""
  return ncc * np.clip(count / (0.5 * width * width), 0.05, 1) ** 0.25


def _energy(maps: np.ndarray) -> np.ndarray:
  """Squares of features [P, 3, H, W], summed to [H, W]."""
  return np.einsum("pchw,pchw->hw", maps, maps)


@dataclasses.dataclass(frozen=True)
class _Offsets:
  """The offsets along an axis at which enough overlaps, and their places in a circular correlation.

  The period is just long enough that none of these overlaps with a copy.
  """

  period: int
  offset: list[int]
  index: np.ndarray

  @classmethod
  def make(cls, fixed: int, moving: int, least: float) -> "_Offsets":
    least = max(1, math.floor(least))
    period = fft.next_fast_len(max(fixed + moving - least, fixed, moving), real=True)
    offset = list(range(least - moving, fixed - least + 1))
    return cls(period, offset, np.array(offset) % period)


def _peaks(score: np.ndarray, near: int) -> list[tuple[int, int]]:
  """Rows and columns of the largest values, farther than `near` from each other; -1 are none."""
  score, found = score.copy(), []
  for _ in range(PEAKS):
    row, column = divmod(int(score.argmax()), score.shape[1])
    if score[row, column] <= -1:
      break
    found.append((row, column))
    score[max(0, row - near) : row + near + 1, max(0, column - near) : column + near + 1] = -1
  return found


def nearby(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
  """Correlations at offsets up to `reach` pixels each way, [G, 2 reach + 1, 2 reach + 1].

  fixed, moving: features [G, N, H, W] of G groups on one grid. mask: [H, W], the part of `moving`
  that is looked for. The offset (x, y) of `moving` is in column reach + x of row reach + y.
  """
  shape = tuple(fft.next_fast_len(side + reach, real=True) for side in mask.shape)
  weights = mask.astype(np.float32)
  fixed, moving = _centred(fixed), _centred(moving, weights)
  index = np.arange(-reach, reach + 1)

  def near(values: np.ndarray) -> np.ndarray:
    return fft.irfft2(values, shape)[:, index[:, None], index]

  products = near((fft.rfft2(fixed, shape) * np.conj(fft.rfft2(moving, shape))).sum(1))
  energy = near(fft.rfft2(np.square(fixed).sum(1), shape) * np.conj(fft.rfft2(weights, shape)))
  own = np.square(moving).sum((1, 2, 3))[:, None, None]
  return products / np.sqrt(np.maximum(energy * own, 1e-6))
