"""Means over seeds and scenes with intervals that count both as drawn at random."""

import dataclasses
import math

import numpy as np
from scipy import special

from cfi_jax.report import resampling
from cfi_jax.report.estimates import LEVEL, Estimate, draws, percentiles


@dataclasses.dataclass(frozen=True)
class Tally:
  """Sums and counts of a quantity, [seeds, scenes] each.

  The quantity is sum / count, summed before dividing: scenes with more objects weigh more. A model
  without seeds has one row.
  """

  sums: np.ndarray
  counts: np.ndarray

  @classmethod
  def of(cls, values: np.ndarray) -> "Tally":
    """The tally of one value per seed and scene, [seeds, scenes]; those not finite do not count."""
    counted = np.isfinite(values)
    return cls(np.where(counted, values, 0), counted.astype(float))

  @property
  def mean(self) -> float:
    """The quantity; NaN where nothing was counted."""
    return float(self.sums.sum() / self.counts.sum()) if self.counts.sum() else math.nan


def estimate(tally: Tally) -> Estimate:
  """The quantity with its 95 % percentile interval.

  Seeds and scenes are crossed: each seed was tested on the same scenes. Every resample draws seeds
  and, for all of them, one set of scenes, both with replacement: the "pigeonhole" bootstrap (Owen
  2007, "The pigeonhole bootstrap"). It is conservative in the scenes. In the seeds it is not: S
  drawn from S never leave their range. Three that differ by chance all lie on one side of 0 in a
  quarter of all studies. So `_stretch` widens the seeds' part of a resample.

  One seed has the chance of the scenes alone.
  """
  return percentiles(tally.mean, _resampled(tally))


def difference(tally: Tally, reference: Tally) -> Estimate:
  """The paired difference tally - reference: both are resampled with the same seeds and scenes."""
  return percentiles(tally.mean - reference.mean, _resampled(tally) - _resampled(reference))


def closed(tally: Tally, start: Tally, end: Tally) -> Estimate:
  """The share of the distance from start to end that the tally closes: 0 at start, 1 at end.

  All are resampled with the same seeds and scenes. Worth nothing where the distance may be 0.
  """
  whole = np.array([end.mean - start.mean, *(_resampled(end) - _resampled(start))])
  part = np.array([tally.mean - start.mean, *(_resampled(tally) - _resampled(start))])
  share = np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole != 0)
  return percentiles(float(share[0]), share[1:])


def image_draws(count: int, resamples: int) -> np.ndarray:
  """`resampling.draws` of images for `combine`, [1 + resamples, count]; seeds are drawn apart."""
  return resampling.draws(count, resamples, 1)


def combine(values: np.ndarray) -> Estimate:
  """The mean over seeds of a statistic that is no sum over images, such as a similarity.

  values: [seeds, 1 + resamples], of every seed the rows of the same `image_draws`: the value, then
    that of each resample of images. As in `resampling.interval`, a seed's resamples are moved
    so that their median is its value; as in `estimate`, seeds are drawn, too, and their part is
    widened. A paired difference is that of two such arrays. NaN where a seed has no value.
  """
  kept = values[:, 1:][:, np.isfinite(values[:, 1:]).all(axis=0)]
  needed = resampling.DEFINED * (values.shape[1] - 1)
  if not np.isfinite(values[:, 0]).all() or kept.shape[1] < needed:
    return Estimate(float(values[:, 0].mean()), math.nan, math.nan)
  kept = kept - np.median(kept, axis=1, keepdims=True) + values[:, :1]
  count, resamples = kept.shape
  drawn = draws(count, (0, 0), resamples) / count
  mean = values[:, 0].mean()
  of_seeds = drawn @ values[:, 0] - mean
  moved = np.einsum("rs,sr->r", drawn, kept) + (_stretch(count) - 1) * of_seeds
  return percentiles(mean, moved)


def _resampled(tally: Tally) -> np.ndarray:
  """The quantity in every resample, [RESAMPLES]; NaN where nothing was drawn that counts."""
  # A generator each: the scenes that are drawn do not depend on the number of seeds.
  seeds, scenes = (draws(n, (0, k)).astype(float) for k, n in enumerate(tally.sums.shape))
  of_seeds = _drawn(tally, seeds, np.ones((1, scenes.shape[1]))) - tally.mean
  return _drawn(tally, seeds, scenes) + (_stretch(seeds.shape[1]) - 1) * of_seeds


def _stretch(seeds: int) -> float:
  """Factor on the seeds' part of a resample that gives it the 95 % interval of Student's t.

  S drawn from S have (S - 1) / S of the variance, and normal tails (Hesterberg 2015, "What Teachers
  Should Know About the Bootstrap", section 3).
  """
  if seeds == 1:
    return 1.0
  end = (1 + LEVEL) / 2
  return special.stdtrit(seeds - 1, end) / special.ndtri(end) * math.sqrt(seeds / (seeds - 1))


def _drawn(tally: Tally, seeds: np.ndarray, scenes: np.ndarray) -> np.ndarray:
  """The quantity [R] where seeds [R, S] and scenes [R or 1, N] count so often; NaN for nothing."""
  # Not "@": the threads of BLAS cost more than such small products on a machine at work.
  sums, counts = (
    (np.einsum("rn,sn->rs", scenes, x) * seeds).sum(1) for x in (tally.sums, tally.counts)
  )
  return np.divide(sums, counts, out=np.full(len(seeds), math.nan), where=counts > 0)
