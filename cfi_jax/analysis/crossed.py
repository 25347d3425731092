"""Means over seeds and scenes with intervals that count both as drawn at random."""

import dataclasses
import functools
import math

import numpy as np

from cfi_jax.report.summary import LEVEL, RESAMPLES, Estimate


@dataclasses.dataclass(frozen=True)
class Tally:
  """What was counted on every scene by every seed: [seeds, scenes] each.

  The quantity is sum / count, summed before dividing: scenes with more objects weigh more. A model
  without seeds has one row, which stands for any number.
  """

  sums: np.ndarray
  counts: np.ndarray

  @property
  def mean(self) -> float:
    """The quantity; NaN where nothing was counted."""
    return float(self.sums.sum() / self.counts.sum()) if self.counts.sum() else math.nan


def estimate(tally: Tally, seed: int = 0) -> Estimate:
  """The quantity with its 95 % percentile interval.

  Seeds and scenes are crossed: each seed was tested on the same scenes. Every resample draws seeds
  (the outer level) and, for all of them, one set of scenes, both with replacement: the "pigeonhole"
  bootstrap (Owen 2007, "The pigeonhole bootstrap"), conservative in the scenes. With few seeds
  their share of the interval is too narrow: S drawn from S have (S - 1) / S of the variance.
  """
  return _interval(tally.mean, _resampled(tally, seed))


def difference(tally: Tally, reference: Tally, seed: int = 0) -> Estimate:
  """tally - reference, both resampled with the same seeds and scenes: a paired difference."""
  seeds = max(len(tally.sums), len(reference.sums))
  ours, theirs = (_resampled(_broadcast(t, seeds), seed) for t in (tally, reference))
  return _interval(tally.mean - reference.mean, ours - theirs)


def _broadcast(tally: Tally, seeds: int) -> Tally:
  """A tally of one row for so many seeds."""
  shape = (seeds, tally.sums.shape[1])
  return Tally(np.broadcast_to(tally.sums, shape), np.broadcast_to(tally.counts, shape))


def _resampled(tally: Tally, seed: int) -> np.ndarray:
  """The quantity in every resample, [RESAMPLES]; NaN where nothing was drawn that counts."""
  seeds, scenes = _draws(*tally.sums.shape, seed)
  sums, counts = ((scenes @ x.T * seeds).sum(1) for x in (tally.sums, tally.counts))
  return np.divide(sums, counts, out=np.full(RESAMPLES, math.nan), where=counts > 0)


@functools.lru_cache(maxsize=4)
def _draws(seeds: int, scenes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """How often each seed and each scene is drawn in each resample: [RESAMPLES, seeds or scenes]."""
  rng = np.random.default_rng(seed)
  return tuple(
    rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float) for n in (seeds, scenes)
  )


def _interval(mean: float, values: np.ndarray) -> Estimate:
  values = values[np.isfinite(values)]
  if not values.size or math.isnan(mean):
    return Estimate(math.nan, math.nan, math.nan)
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(values, [tail, 1 - tail])
  return Estimate(mean, float(low), float(high))
