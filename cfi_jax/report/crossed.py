"""Means over seeds and scenes with intervals that count both as drawn at random."""

import dataclasses
import functools
import math

import numpy as np
from scipy import special

from cfi_jax.report.summary import LEVEL, RESAMPLES, Estimate


@dataclasses.dataclass(frozen=True)
class Tally:
  """What was counted on every scene by every seed: [seeds, scenes] each.

  The quantity is sum / count, summed before dividing: scenes with more objects weigh more. A model
  without seeds has one row.
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
  bootstrap (Owen 2007, "The pigeonhole bootstrap"), conservative in the scenes. S seeds drawn from
  S never leave their range, and of three seeds that differ by chance all lie on one side of 0 in a
  quarter of all studies: what a resample owes to its seeds is stretched, see `_stretch`.

  One row, or one seed, has the chance of the scenes alone.
  """
  return _interval(tally.mean, _resampled(tally, seed))


def difference(tally: Tally, reference: Tally, seed: int = 0) -> Estimate:
  """tally - reference, both resampled with the same seeds and scenes: a paired difference."""
  ours, theirs = (_resampled(t, seed) for t in (tally, reference))
  return _interval(tally.mean - reference.mean, ours - theirs)


def _resampled(tally: Tally, seed: int) -> np.ndarray:
  """The quantity in every resample, [RESAMPLES]; NaN where nothing was drawn that counts.

  Tallies of as many scenes share their draws of scenes, and with as many seeds those of seeds.
  """
  seeds, scenes = _draws(*tally.sums.shape, seed)
  all_scenes = np.ones((1, scenes.shape[1]))
  of_seeds = _drawn(tally, seeds, all_scenes) - tally.mean
  return _drawn(tally, seeds, scenes) + (_stretch(seeds.shape[1]) - 1) * of_seeds


def _stretch(seeds: int) -> float:
  """How far the seeds' part of a resample is stretched, so that its 95 % are those of Student's t.

  S drawn from S have (S - 1) / S of the variance, and normal tails (Hesterberg 2015, "What Teachers
  Should Know About the Bootstrap", section 3).
  """
  if seeds == 1:
    return 1.0
  end = (1 + LEVEL) / 2
  return special.stdtrit(seeds - 1, end) / special.ndtri(end) * math.sqrt(seeds / (seeds - 1))


def _drawn(tally: Tally, seeds: np.ndarray, scenes: np.ndarray) -> np.ndarray:
  """The quantity where seeds [R, S] and scenes [R or 1, N] count so often, [R]; NaN for nothing."""
  # Not "@": the threads of BLAS cost more than such small products on a machine at work.
  sums, counts = (
    (np.einsum("rn,sn->rs", scenes, x) * seeds).sum(1) for x in (tally.sums, tally.counts)
  )
  return np.divide(sums, counts, out=np.full(len(seeds), math.nan), where=counts > 0)


@functools.lru_cache(maxsize=4)
def _draws(seeds: int, scenes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """How often each seed and each scene is drawn in each resample: [RESAMPLES, seeds or scenes]."""
  # A generator each: the scenes that are drawn do not depend on the number of seeds.
  return tuple(
    np.random.default_rng((seed, k)).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    for k, n in enumerate((seeds, scenes))
  )


def _interval(mean: float, values: np.ndarray) -> Estimate:
  values = values[np.isfinite(values)]
  if not values.size or math.isnan(mean):
    return Estimate(math.nan, math.nan, math.nan)
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(values, [tail, 1 - tail])
  return Estimate(mean, float(low), float(high))
