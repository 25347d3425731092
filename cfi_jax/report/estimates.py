"""Estimates with 95 % intervals, and the bootstrap that they come from."""

import dataclasses
import functools
import math

import numpy as np
from scipy import stats

RESAMPLES = 4000
LARGE = 10_000  # units from which on the interval is that of the limit of the bootstrap
LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2)


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean and the ends of its 95 % bootstrap interval; NaN where it is not defined."""

  mean: float
  low: float
  high: float

  @property
  def excludes_zero(self) -> bool:
    """Whether the interval, of a difference, leaves out 0."""
    return not math.isnan(self.mean) and (self.low > 0 or self.high < 0)


UNDEFINED = Estimate(math.nan, math.nan, math.nan)


@functools.lru_cache(maxsize=4)  # an analysis asks for the same draws a thousand times
def draws(count: int, seed: int | tuple[int, ...], resamples: int = RESAMPLES) -> np.ndarray:
  """Counts of each of `count` units in resamples with replacement, [resamples, count]."""
  return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)


def percentiles(mean: float, resampled: np.ndarray) -> Estimate:
  """The mean with the percentile interval of its finite values in resamples [R]."""
  resampled = resampled[np.isfinite(resampled)]
  if not resampled.size or math.isnan(mean):
    return UNDEFINED
  low, high = np.quantile(resampled, TAILS)
  return Estimate(float(mean), float(low), float(high))


def estimate(values: np.ndarray) -> Estimate:
  """The mean of the finite values among [N] with its bootstrap interval.

  The resamples depend on N alone, so that the difference of two such arrays is a paired one. From
  `LARGE` values on the interval is the normal one that the bootstrap's tends to, as resamples of
  many would fill the memory.
  """
  kept = np.isfinite(values)
  if not kept.any():
    return UNDEFINED
  if len(values) >= LARGE:
    mean, half = values[kept].mean(), stats.norm.ppf(TAILS[1]) * values[kept].std()
    half /= math.sqrt(kept.sum())
    return Estimate(float(mean), float(mean - half), float(mean + half))
  weights = draws(len(values), 0)[:, kept]
  drawn = weights.sum(axis=1)
  means = (weights @ values[kept])[drawn > 0] / drawn[drawn > 0]
  return percentiles(values[kept].mean(), means)
