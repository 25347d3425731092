"""The homography between two cameras: a search over all places, then refinement of the best one."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from cfi_jax.images import warp
from cfi_jax.registration import features
from cfi_jax.registration.refine import Fit, Level, correlations, refine
from cfi_jax.registration.search import COARSE, Place, around, nearby, search

CANDIDATES = 8  # distinct places that are searched on a finer grid
APART = (0.06, 0.12)  # shares of the width, or logarithm of the scale, between distinct candidates
DISTINCT = (0.08, float(np.log(1.2)))  # the same between the best place and one that rivals it
WIDTHS = (160, 256)  # of the visible images in the refinement
GAIN = 0.01  # of the correlation, for which a model of more parameters is believed
SHUFFLES = 3  # ways in which the pairs of a rig are exchanged
ALIKE = 0.5  # correlation of visible images that show one scene
REACH = 0.08  # of the width, within which the pictures are shifted to see whether they fit
NEAR, FAR = 0.015, 0.03  # of the width: shifts that are as good as none, and that are not
MOUNTINGS = ("upright", "any")


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A homography from visible to infrared pixels, and what there is to judge it by.

  margin: score of the best place less that of the best distinct one, over the former. sharpness:
  the share of the correlation that is lost by any shift of 3 to 8 % of the width. ratio: of the
  correlation of the pairs to that of exchanged ones, both as the search finds them; None where
  nothing can be exchanged: one pair, or pairs of one scene. ncc, shifts: each pair's own
  correlation of edges, and the shift (x, y) in visible pixels that it would take.
  """

  matrix: np.ndarray
  margin: float
  sharpness: float
  ratio: float | None
  ncc: np.ndarray
  shifts: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Found:
  """A place, and the homography from pixels of the turned infrared image to the image's own."""

  place: Place
  mounting: int
  back: np.ndarray

  @property
  def matrix(self) -> np.ndarray:
    return self.back @ self.place.matrix


def estimate(
  visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray], mounting: str = MOUNTINGS[0]
) -> Estimate:
  """Finds one homography for all pairs.

  visibles, infrareds: float32 [H, W] of values 0 to 255, each kind of one size. mounting: of
    `MOUNTINGS`; "any" also tries an infrared camera that is turned by 90, 180 and 270 degrees, and
    mirrored.
  """
  size = visibles[0].shape
  mountings = _mountings(infrareds, mounting)
  found, ratio = _search(visibles, mountings)
  chosen = _distinct(found, size, APART, CANDIDATES)
  finer = [
    _Found(place, one.mounting, one.back)
    for one in chosen
    for place in search(
      visibles, mountings[one.mounting][0], around(one.place.scale, one.place.angle)
    )[0]
  ]
  finer.sort(key=lambda one: -one.place.score)
  best, *rivals = _distinct(finer, size, DISTINCT, 2)
  second = rivals[0].place.score if rivals else 0.0
  margin = (best.place.score - second) / best.place.score
  levels = [Level.make(visibles, infrareds, width) for width in WIDTHS]
  matrix = _refine(levels, best.matrix, len(visibles))
  sharpness, own = _judge(levels[0], matrix)
  return Estimate(matrix, margin, sharpness, ratio, correlations(levels[-1], matrix), own * size[1])


def _mountings(
  infrareds: Sequence[np.ndarray], mounting: str
) -> list[tuple[list[np.ndarray], np.ndarray]]:
  """The infrared images in each mounting, and the homography back to their own pixels."""
  ways: Iterable[tuple[bool, int]] = itertools.product((False, True), range(4))
  found = []
  for mirrored, quarters in [(False, 0)] if mounting == MOUNTINGS[0] else ways:
    turned = [np.rot90(image[:, ::-1] if mirrored else image, quarters) for image in infrareds]
    height, width = infrareds[0].shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    # Three corners of the turned picture say where all of its pixels come from.
    x, y = (np.rot90(a[:, ::-1] if mirrored else a, quarters) for a in (x, y))
    rows = [
      [(a[0, -1] - a[0, 0]) / (a.shape[1] - 1), (a[-1, 0] - a[0, 0]) / (a.shape[0] - 1), a[0, 0]]
      for a in (x, y)
    ]
    found.append(([np.ascontiguousarray(t) for t in turned], np.array([*rows, [0, 0, 1]])))
  return found


def _search(
  visibles: Sequence[np.ndarray], mountings: Sequence[tuple[list[np.ndarray], np.ndarray]]
) -> tuple[list[_Found], float | None]:
  """The places of all mountings, best first, and the ratio of `Estimate`."""
  exchanged = _exchanges(visibles)
  pairings = [range(len(visibles)), *exchanged]
  found, most = [], np.zeros(len(pairings))
  for index, (turned, back) in enumerate(mountings):
    places = search(visibles, turned, COARSE, pairings)
    found += [_Found(place, index, back) for place in places[0]]
    most = np.maximum(most, [max(p.ncc for p in own) if own else 0.0 for own in places])
  found.sort(key=lambda one: -one.place.score)
  return found, float(most[0] / most[1:].max()) if exchanged else None


def _exchanges(visibles: Sequence[np.ndarray]) -> list[list[int]]:
  """Ways to give each visible image the infrared one of another pair, none of one scene."""
  count = len(visibles)
  if count < 2:
    return []
  small = np.stack([features.at_width(image, COARSE.width)[0] for image in visibles])
  maps = features.edges(small)
  maps = maps - maps.mean((-2, -1), keepdims=True)
  ways = [(np.arange(count) + step) % count for step in range(1, min(count, 1 + SHUFFLES))]
  energy = np.square(maps).sum()
  return [list(way) for way in ways if (maps * maps[way]).sum() < ALIKE * energy]


def _distinct(
  found: Sequence[_Found], size: tuple[int, int], apart: tuple[float, float], count: int
) -> list[_Found]:
  """The first places that are `apart` from each other, at most `count`."""
  kept: list[_Found] = []
  for one in found:
    if all(_are_apart(one, other, size, apart) for other in kept):
      kept.append(one)
      if len(kept) == count:
        break
  return kept


def _are_apart(
  one: _Found, other: _Found, size: tuple[int, int], apart: tuple[float, float]
) -> bool:
  """Whether two places differ in mounting, offset of the visible image's middle, or scale."""
  if one.mounting != other.mounting:
    return True
  middle = np.array(size[1] / 2), np.array(size[0] / 2)
  x, y = warp.transform(np.linalg.inv(other.matrix) @ one.matrix, *middle)
  offset = np.hypot(x - middle[0], y - middle[1]) / size[1]
  return bool(offset > apart[0] or abs(np.log(one.place.scale / other.place.scale)) > apart[1])


def _refine(levels: Sequence[Level], matrix: np.ndarray, count: int) -> np.ndarray:
  """Refines a similarity on both levels, and takes models of more parameters that gain."""
  fit = Fit(matrix, -1.0)
  for level in levels:
    fit = refine(level, fit.matrix, "similarity")
  for model in ("affine", "homography"):
    more = refine(levels[-1], fit.matrix, model)
    if more.ncc > fit.ncc + GAIN / count:
      fit = more
  return fit.matrix


def _judge(level: Level, matrix: np.ndarray) -> tuple[float, np.ndarray]:
  """The `sharpness` of `Estimate`, and each pair's own shift [P, 2] over the width."""
  infrared, mask = level.infrared(matrix)
  height, width = level.size
  reach = round(REACH * width)
  if not mask.any():
    return 0.0, np.zeros((len(infrared), 2))
  own = nearby(level.visible, infrared, mask, reach)
  rows, columns = np.divmod(own.reshape(len(own), -1).argmax(1), own.shape[2])
  fixed, moving = (maps.reshape(1, -1, height, width) for maps in (level.visible, infrared))
  (joint,) = nearby(fixed, moving, mask, reach)
  y, x = np.indices(joint.shape) - reach
  peak = joint[np.hypot(x, y) <= NEAR * width].max()
  away = joint[np.hypot(x, y) > FAR * width].max()
  return float(1 - away / peak) if peak > 0 else 0.0, (
    np.stack([columns, rows], -1) - reach
  ) / width
