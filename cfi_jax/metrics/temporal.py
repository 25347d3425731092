"""Scores of fused sequences over time: what flickers, and what moves otherwise than the sources.

BiSWE and MS2R are those of VF-Bench (Zhao et al., UniVF, NeurIPS 2025) with a plain optical flow
(`metrics.flow`) in place of a trained one, so they have names of their own: their values cannot
stand beside published ones.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import ndimage

from cfi_jax.metrics.flow import is_consistent, optical_flow, warp

BACKGROUND_MEAN, BACKGROUND_MAX = "background_step_mean", "background_step_max"
BISWE, MS2R = "BiSWE_ilk", "MS2R_ilk"
METRICS = {
  BACKGROUND_MEAN: "levels of 255 by which the static background changes from frame to frame",
  BACKGROUND_MAX: "the largest such change",
  BISWE: "levels by which a frame differs from both its neighbours, moved to it by their flow",
  MS2R: "pixels by which the change of the flow differs from that of the sources, mean of both",
}
STILL = 3.0  # levels that a still pixel of a source may change, beside what all of it changes
SMOOTH = 5  # side of the window that noise is averaged in before
FEW = 0.05  # share of the pixels that must be still for a step to count


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
  """A frame and the next one: grey [H, W] in [0, 255], and the flows from each to the other."""

  first: np.ndarray
  second: np.ndarray
  there: np.ndarray
  back: np.ndarray

  @classmethod
  def of(cls, first: np.ndarray, second: np.ndarray) -> "Step":
    """Computes the flows."""
    return cls(first, second, optical_flow(first, second), optical_flow(second, first))

  @property
  def is_visible(self) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the first frame that the second shows, and those of the second likewise."""
    return is_consistent(self.there, self.back), is_consistent(self.back, self.there)


def background_step(
  first: np.ndarray, second: np.ndarray, sources: list[tuple[np.ndarray, np.ndarray]]
) -> float:
  """Absolute change of the mean level of what stands still; NaN where next to nothing does.

  first, second: consecutive frames, grey [H, W] in [0, 255]. sources: the same of both sources. A
  pixel stands still where no source changes there by more than `STILL` otherwise than all of it.
  """
  still = np.ones(first.shape, bool)
  for before, after in sources:
    change = ndimage.uniform_filter(after.astype(np.float32) - before, SMOOTH, mode="nearest")
    still &= np.abs(change - np.median(change)) <= STILL
  if still.mean() < FEW:
    return float("nan")
  return float(abs(second[still].mean(dtype=np.float64) - first[still].mean(dtype=np.float64)))


def biswe(before: Step, after: Step, masks: tuple[np.ndarray, np.ndarray]) -> float:
  """The warping error of the frame between two steps, of both its neighbours; NaN without pixels.

  masks: where the sources' frame is seen in the last one and in the next, bool [H, W].
  """
  frame, total = after.first, 0.0
  for other, flow, mask in (
    (before.first, before.back, masks[0]),
    (after.second, after.there, masks[1]),
  ):
    apart = np.abs(frame - warp(other, flow))
    total += float(apart[mask].mean()) if mask.any() else float("nan")
  return total


def ms2r(fused: tuple[Step, Step], sources: list[tuple[Step, Step]]) -> float:
  """The difference in change of motion, pixels: mean over sources, pixels and both directions."""
  own = fused[1].there - fused[0].there
  parts = [np.abs(own - (after.there - before.there)).mean() for before, after in sources]
  return float(np.mean(parts))


def score(
  frames: Iterator[Mapping[str, np.ndarray]], sources: tuple[str, str]
) -> dict[str, dict[str, float]]:
  """The scores of `METRICS` of every sequence, the sources too, by its name.

  frames: at each time the frame of every sequence, grey [H, W] in [0, 255]; three are held.
  A value is the mean over times (the largest of `BACKGROUND_MAX`); NaN where none has one.
  """
  found: dict[str, dict[str, list[float]]] = {}
  last: Mapping[str, np.ndarray] | None = None
  before: dict[str, Step] | None = None
  for current in frames:
    grey = {name: np.asarray(frame, np.float32) for name, frame in current.items()}
    if last is not None:
      after = {name: Step.of(last[name], grey[name]) for name in grey}
      _add(found, before, after, sources)
      before = after
    last = grey
  return {
    name: {metric: _mean(metric, lists[metric]) for metric in METRICS}
    for name, lists in found.items()
  }


def _add(
  found: dict[str, dict[str, list[float]]],
  before: dict[str, Step] | None,
  after: dict[str, Step],
  sources: tuple[str, str],
) -> None:
  """Adds the values of a step, and of the frame between two."""
  pairs = [(after[name].first, after[name].second) for name in sources]
  for name, step in after.items():
    lists = found.setdefault(name, {metric: [] for metric in METRICS})
    change = background_step(step.first, step.second, pairs)
    lists[BACKGROUND_MEAN].append(change)
    lists[BACKGROUND_MAX].append(change)
  if before is None:
    return
  seen = [(before[name].is_visible[1], after[name].is_visible[0]) for name in sources]
  masks = seen[0][0] & seen[1][0], seen[0][1] & seen[1][1]
  both = [(before[name], after[name]) for name in sources]
  for name, lists in found.items():
    lists[BISWE].append(biswe(before[name], after[name], masks))
    lists[MS2R].append(ms2r((before[name], after[name]), both))


def _mean(metric: str, values: list[float]) -> float:
  kept = [value for value in values if not np.isnan(value)]
  if not kept:
    return float("nan")
  return max(kept) if metric == BACKGROUND_MAX else float(np.mean(kept))
