"""Means over seeds and scenes with intervals that count both as drawn at random."""

import dataclasses
import math

import numpy as np
from scipy import special

from cfi_jax.report.estimates import LEVEL, RESAMPLES, Estimate, draws, percentiles


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


def scene_weights(scenes: int, resamples: int = RESAMPLES) -> np.ndarray:
  """How often each scene counts, [1 + resamples, scenes]: once, then as resamples draw them.

  A statistic of scenes so weighted is a row of `estimate_statistic`.
  """
  drawn = draws(scenes, (0, 1), resamples)
  return np.concatenate([np.ones((1, scenes), drawn.dtype), drawn])


def estimate_statistic(values: np.ndarray) -> Estimate:
  """The mean over seeds of a statistic that is no mean over scenes, such as a mean IoU.

  values: [seeds, 1 + resamples], of each seed by the rows of `scene_weights`; NaN where it is not
    defined. Seeds are drawn, and their part is widened, as in `estimate`.
  """
  return percentiles(*_of_statistic(values))


def difference_statistic(values: np.ndarray, reference: np.ndarray) -> Estimate:
  """The paired difference values - reference of statistics, see `estimate_statistic`."""
  (mean, drawn), (other, others) = _of_statistic(values), _of_statistic(reference)
  return percentiles(mean - other, drawn - others)


def _of_statistic(values: np.ndarray) -> tuple[float, np.ndarray]:
  """The mean over seeds, and in every resample, [resamples]."""
  count, resamples = len(values), values.shape[1] - 1
  seeds = draws(count, (0, 0), resamples).astype(float)
  whole = Tally.of(values[:, :1])
  of_seeds = _drawn(whole, seeds, np.ones((1, 1))) - whole.mean
  found = Tally.of(values[:, 1:])
  sums, counts = ((seeds * x.T).sum(1) for x in (found.sums, found.counts))
  drawn = np.divide(sums, counts, out=np.full(resamples, math.nan), where=counts > 0)
  return whole.mean, drawn + (_stretch(count) - 1) * of_seeds


def closed(tally: Tally, start: Tally, end: Tally) -> Estimate:
  """The share of the distance from start to end that the tally closes: 0 at start, 1 at end.

  All are resampled with the same seeds and scenes. Worth nothing where the distance may be 0.
  """
  whole = np.array([end.mean - start.mean, *(_resampled(end) - _resampled(start))])
  part = np.array([tally.mean - start.mean, *(_resampled(tally) - _resampled(start))])
  share = np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole != 0)
  return percentiles(float(share[0]), share[1:])


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
