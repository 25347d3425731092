"""The homography between two cameras: a search over all places, then refinement of the best one."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cfi_jax.images import warp
from cfi_jax.registration import features
from cfi_jax.registration.mountings import MOUNTINGS, mounted
from cfi_jax.registration.refine import Fit, Level, correlations, refine
from cfi_jax.registration.search import COARSE, Place, around, nearby, search, weighted

CANDIDATES = 8  # distinct places that are searched on a finer grid; of several pairs half as many
APART = (0.06, 0.12)  # shares of the width, or logarithm of the scale, between distinct candidates
FINALISTS = 3  # places of these that are refined,
DISTINCT = (0.08, float(np.log(1.2)))  # so far apart
WIDTHS = (160, 256)  # of the visible images in the refinement
GAIN = 0.01  # of the correlation, for which a model of more parameters is believed
SHUFFLES = 3  # ways in which the pairs of a rig are exchanged
ALIKE = 0.5  # correlation of visible images that show one scene
REACH = 0.08  # of the width, within which the pictures are shifted to see whether they fit
NEAR, FAR = 0.015, 0.03  # of the width: shifts that are as good as none, and that are not


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A homography from visible to infrared pixels, and what there is to judge it by.

  margin: score of the best place less that of the best distinct one, over the former, before or
  after the refinement, whichever is less. sharpness: the share of the correlation that is lost by
  any shift of 3 to 8 % of the width. ratio: of the correlation of the pairs to that of exchanged
  ones, both as the search finds them; None where nothing can be exchanged: one pair, or pairs of
  one scene. ncc, shifts: each pair's own correlation of edges, and the shift (x, y) in visible
  pixels that it would take.
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
  mountings = mounted(infrareds, mounting)
  found, ratio = _search(visibles, mountings)
  chosen = _distinct(found, size, APART, CANDIDATES if len(visibles) == 1 else CANDIDATES // 2)
  finer = [
    _Found(place, one.mounting, one.back)
    for one in chosen
    for place in search(
      visibles, mountings[one.mounting][0], around(one.place.scale, one.place.angle)
    )[0]
  ]
  finer.sort(key=lambda one: -one.place.score)
  finalists = _distinct(finer, size, DISTINCT, FINALISTS if len(visibles) == 1 else 2)
  levels = [Level.make(visibles, infrareds, width) for width in WIDTHS]
  fits = [_refine_similarity(levels, one.matrix) for one in finalists]
  refined = [_score(levels[-1], fit) for fit in fits]
  best = int(np.argmax(refined))
  rivals = [
    k
    for k, (one, fit) in enumerate(zip(finalists, fits, strict=True))
    if one.mounting != finalists[best].mounting
    or _are_apart(fit.matrix, fits[best].matrix, size, DISTINCT)
  ]
  before = [one.place.score for one in finalists]
  margin = min(_margin(scores, best, rivals) for scores in (before, refined))
  matrix = _refine_more(levels[-1], fits[best], len(visibles))
  sharpness, own = _judge(levels[0], matrix)
  return Estimate(matrix, margin, sharpness, ratio, correlations(levels[-1], matrix), own * size[1])


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
  return found, float(most[0] / max(most[1:].max(), 1e-6)) if exchanged else None


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
    if all(
      one.mounting != other.mounting or _are_apart(one.matrix, other.matrix, size, apart)
      for other in kept
    ):
      kept.append(one)
      if len(kept) == count:
        break
  return kept


def _are_apart(
  one: np.ndarray, other: np.ndarray, size: tuple[int, int], apart: tuple[float, float]
) -> bool:
  """Whether two homographies differ in the offset of the visible image's middle, or in scale."""
  middle = np.array(size[1] / 2), np.array(size[0] / 2)
  x, y = warp.transform(np.linalg.inv(other) @ one, *middle)
  offset = np.hypot(x - middle[0], y - middle[1]) / size[1]
  scales = [warp.spacing(matrix, size) for matrix in (one, other)]
  return not (offset <= apart[0] and abs(np.log(scales[0] / scales[1])) <= apart[1])


def _margin(scores: Sequence[float], best: int, rivals: Sequence[int]) -> float:
  """By how much a score beats those of rivals, a share of it; negative where it does not."""
  second = max([scores[k] for k in rivals], default=0.0)
  return float((scores[best] - second) / scores[best]) if scores[best] > 0 else -1.0


def _score(level: Level, fit: Fit) -> float:
  """The correlation of a fit, weighted by its overlap as in the search."""
  return float(weighted(fit.ncc, level.infrared(fit.matrix)[1].sum(), level.size[1]))


def _refine_similarity(levels: Sequence[Level], matrix: np.ndarray) -> Fit:
  fit = Fit(matrix, -1.0)
  for level in levels:
    fit = refine(level, fit.matrix, "similarity")
  return fit


def _refine_more(level: Level, fit: Fit, count: int) -> np.ndarray:
  """The homography of a fit, by models of more parameters where they gain."""
  for model in ("affine", "homography"):
    more = refine(level, fit.matrix, model)
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
