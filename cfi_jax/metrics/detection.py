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
  0 where all have been missed. Images that are given twice count twice, as a bootstrap needs.
  """
  matches = list(matches)
  total = sum(m.truths for m in matches)
  count = len(matches[0].hits) if matches else len(THRESHOLDS)
  if not total:
    return np.full(count, np.nan)
  scores = np.concatenate([m.scores for m in matches])
  order = np.argsort(-scores, kind="stable")
  hits = np.concatenate([m.hits for m in matches], axis=1)[:, order]
  return np.array([_area(row, total) for row in hits])


def _area(hits: np.ndarray, total: int) -> float:
  """Mean precision at the recalls; hits: bool [D], the surest first."""
  good, bad = np.cumsum(hits, dtype=np.float64), np.cumsum(~hits, dtype=np.float64)
  precision = good / (good + bad + np.spacing(1))
  # The best precision that is still reached at a recall or beyond.
  precision = np.maximum.accumulate(precision[::-1])[::-1]
  places = np.searchsorted(good / total, RECALLS, side="left")
  reached = places < len(precision)
  return float(np.where(reached, np.append(precision, 0)[np.minimum(places, len(hits))], 0).mean())


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
