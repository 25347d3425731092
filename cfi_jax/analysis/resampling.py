"""Bootstrap intervals of statistics that are no means over images: images are the units."""

import statistics

import numpy as np

from cfi_jax.report.summary import LEVEL, Estimate

_NORMAL = statistics.NormalDist()
_DEFINED = 0.9  # share of the resamples that must give a number, or there is no interval


def draws(count: int, resamples: int, seed: int) -> np.ndarray:
  """How often each of `count` images is drawn, [1 + resamples, count]; the first row is all ones.

  A statistic written with weights per image gives its value in the first row and that of bootstrap
  resamples in the others; see `interval`.
  """
  drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
  return np.concatenate([np.ones((1, count), drawn.dtype), drawn])


def interval(values: np.ndarray) -> Estimate:
  """The estimate of values [1 + resamples] of the rows of `draws`: the first, with its interval.

  Bias-corrected percentiles (Efron 1987, section 3, with no acceleration): a statistic such as a
  share of variance is larger in resamples, which hold fewer different images, and plain percentiles
  would be too large as well. Where more than a tenth of the resamples give no number (they hold too
  few different images) the interval would be that of lucky draws: it is NaN.
  """
  kept = values[1:][np.isfinite(values[1:])]
  if not np.isfinite(values[0]) or kept.size < _DEFINED * (len(values) - 1):
    return Estimate(float(values[0]), float("nan"), float("nan"))
  below = np.mean(kept < values[0]) + np.mean(kept == values[0]) / 2
  bias = _NORMAL.inv_cdf(float(np.clip(below, 0.5 / kept.size, 1 - 0.5 / kept.size)))
  tail = (1 - LEVEL) / 2
  ends = [_NORMAL.cdf(2 * bias + _NORMAL.inv_cdf(end)) for end in (tail, 1 - tail)]
  low, high = np.quantile(kept, ends)
  return Estimate(float(values[0]), float(low), float(high))


def another(count: int, rng: np.random.Generator) -> np.ndarray:
  """For each of `count` (at least two) images the number of another, each used once."""
  order = rng.permutation(count)
  result = np.empty(count, np.int64)
  result[order] = np.roll(order, 1)  # one cycle through all: no image stays in place
  return result
