"""Average precision of boxes by the rules of COCO, with the numbers of pycocotools.

Boxes are [top, left, bottom, right] in pixels, lower and right ends excluded. Source: Lin et al.,
Microsoft COCO, 2014, and the evaluation code pycocotools, whose order of ties is kept.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from cfi_jax.core.types import InputError

THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_COUNTS = 2**22  # numbers that a part of a bootstrap holds
MOST = 100  # detections of a class that count in an image, the surest first


@dataclasses.dataclass(frozen=True)
class Boxes:
  """Boxes of one image. boxes: float [N, 4]. classes: int [N]. scores: float [N], None of a truth.

  Raises InputError for shapes that do not fit, a score that is no number, and a box whose ends are
  in the wrong order or not finite.
  """

  boxes: np.ndarray
  classes: np.ndarray
  scores: np.ndarray | None = None

  def __post_init__(self):
    """Refuses arrays that are not N boxes."""
    count = len(self.classes)
    if self.boxes.shape != (count, 4) or self.classes.shape != (count,):
      raise InputError(
        f"boxes are {list(self.boxes.shape)} and classes {list(self.classes.shape)}; allowed: "
        "[N, 4] and [N]"
      )
    if self.scores is not None and (
      self.scores.shape != (count,) or not np.isfinite(self.scores).all()
    ):
      raise InputError(f"scores are {self.scores!r}; allowed: {count} finite numbers")
    ordered = (self.boxes[:, :2] <= self.boxes[:, 2:]).all(1) & np.isfinite(self.boxes).all(1)
    if not ordered.all():
      raise InputError(
        f"box {self.boxes[~ordered][0].tolist()}; allowed: [top, left, bottom, right] in order"
      )

  def of_class(self, index: int) -> "Boxes":
    """The boxes of one class, in their order."""
    own = self.classes == index
    scores = None if self.scores is None else self.scores[own]
    return Boxes(self.boxes[own], self.classes[own], scores)


@dataclasses.dataclass(frozen=True)
class Matches:
  """Detections of one class in one image, matched with the truth.

  scores: [D], falling. hits: bool [thresholds, D]. truths: number of boxes of the truth.
  """

  scores: np.ndarray
  hits: np.ndarray
  truths: int


def overlaps(detected: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """Intersection over union [D, T] of boxes [D, 4] and [T, 4]; 0 for boxes that only touch."""
  low = np.maximum(detected[:, None, :2], truth[None, :, :2])
  high = np.minimum(detected[:, None, 2:], truth[None, :, 2:])
  shared = np.prod(np.maximum(high - low, 0), axis=-1)
  areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (detected, truth)]
  union = areas[0][:, None] + areas[1][None] - shared
  return np.where(shared > 0, shared / np.where(shared > 0, union, 1), 0.0)


def match(
  detected: Boxes, truth: Boxes, thresholds: Sequence[float] = THRESHOLDS, most: int = MOST
) -> Matches:
  """Matches boxes of one class: the surest first, each with the best box that is still free.

  Among boxes of the truth with equal overlap the last is taken; detections of equal score keep
  their order. most: detections beyond so many are left out.
  """
  order = np.argsort(-detected.scores, kind="stable")[:most]
  shares = overlaps(detected.boxes[order].astype(np.float64), truth.boxes.astype(np.float64))
  hits = np.zeros((len(thresholds), len(order)), bool)
  for t, threshold in enumerate(thresholds):
    free = np.ones(len(truth.classes), bool)
    for d in range(len(order)):
      best, chosen = min(threshold, 1 - 1e-10), -1
      for g in np.flatnonzero(free):
        if shares[d, g] >= best:
          best, chosen = shares[d, g], g
      if chosen >= 0:
        free[chosen], hits[t, d] = False, True
  return Matches(detected.scores[order], hits, len(truth.classes))


def average_precision(matches: Iterable[Matches]) -> np.ndarray:
  """Average precision per threshold, [thresholds], of one class over images.

  The mean of the interpolated precision at 101 recalls. NaN where no image has a box of the class;
  0 where all have been missed.
  """
  matches = list(matches)
  return weighted_precision(matches, np.ones((1, len(matches)), np.int64))[0]


def weighted_precision(matches: Sequence[Matches], weights: np.ndarray) -> np.ndarray:
  """Average precision [R, thresholds] of one class where images count so often.

  weights: whole numbers [R, images], as a bootstrap draws them. Of an image that counts twice every
  detection is there twice, one after the other, also among others of the same score.
  """
  count = len(matches[0].hits) if matches else len(THRESHOLDS)
  total = weights @ np.array([m.truths for m in matches], np.int64)
  found = np.full((len(weights), count), np.nan)
  if not matches:
    return found
  order = np.argsort(-np.concatenate([m.scores for m in matches]), kind="stable")
  images = np.repeat(np.arange(len(matches)), [len(m.scores) for m in matches])[order]
  hits = np.concatenate([m.hits for m in matches], axis=1)[:, order]
  there = np.flatnonzero(total)
  rows = max(1, _MOST_COUNTS // max(1, len(images)))
  for part in (there[first : first + rows] for first in range(0, len(there), rows)):
    counted = np.cumsum(weights[part][:, images], axis=1)
    for t, own in enumerate(hits):
      at = np.flatnonzero(own)
      good = np.cumsum(weights[part][:, images[at]], axis=1)
      found[part, t] = _areas(good, counted[:, at], total[part])
  return found


def _areas(good: np.ndarray, counted: np.ndarray, total: np.ndarray) -> np.ndarray:
  """Mean precision at the recalls, [R].

  good, counted: hits and all detections up to each hit, whole numbers [R, H]. total: boxes [R].
  Only hits matter: misses reach no recall, and lower the precision.
  """
  rows, hits = good.shape
  precision = good / (counted + np.spacing(1))
  # The best precision that is still reached at a recall or beyond; 0 where none is.
  precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
  precision = np.concatenate([precision, np.zeros((rows, 1))], axis=1)
  # Hits that a recall needs: the fewest of which the quotient is not below it, in floating point.
  total = total[:, None]
  needed = np.ceil(RECALLS[None] * total).astype(np.int64) - 1
  for _ in range(2):
    needed += needed / total < RECALLS[None]
  # One search for all rows, each beyond the numbers of the last.
  apart = (total.max() + 1) * np.arange(rows)[:, None]
  places = np.searchsorted((good + apart).ravel(), (needed + apart).ravel(), side="left")
  places = places.reshape(rows, -1) - hits * np.arange(rows)[:, None]
  return np.take_along_axis(precision, places, axis=1).mean(1)


def average_precisions(
  pairs: Sequence[tuple[Boxes, Boxes]], classes: int, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
  """Average precision [classes, thresholds] of (detected, truth) per image; NaN as above."""
  return np.stack(
    [
      average_precision([match(d.of_class(c), t.of_class(c), thresholds) for d, t in pairs])
      for c in range(classes)
    ]
  )


def summarise(precisions: np.ndarray) -> dict[str, float]:
  """AP50 and AP50:95 of precisions [classes, `THRESHOLDS`], over the classes with boxes.

  NaN where no class has any.
  """
  known = ~np.isnan(precisions[:, 0])
  if not known.any():
    return {"AP50": float("nan"), "AP50:95": float("nan")}
  return {"AP50": float(precisions[known, 0].mean()), "AP50:95": float(precisions[known].mean())}
