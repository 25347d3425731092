"""Bootstrap intervals of statistics that are no means over images: images are the units."""

import numpy as np

from cfi_jax.report.summary import LEVEL, Estimate

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

  Percentiles, moved so that the median of the resamples is the value: a statistic such as a share
  of variance is larger in resamples, which hold fewer different images, by more than they scatter
  where images are few (bias-corrected percentiles, which read the bias off ranks, have no width
  then). So the interval is that of the statistic of as many images, its own bias included: to be
  compared with a null or floor of as many. Of a share that is noise it is too wide, 2 to 4 times in
  trials; of one that is not, right. Where more than a tenth of the resamples give no number (they
  hold too few different images) it would be that of lucky draws: it is NaN.
  """
  kept = values[1:][np.isfinite(values[1:])]
  if not np.isfinite(values[0]) or kept.size < _DEFINED * (len(values) - 1):
    return Estimate(float(values[0]), float("nan"), float("nan"))
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(kept - np.median(kept) + values[0], [tail, 1 - tail])
  return Estimate(float(values[0]), float(low), float(high))


def another(count: int, rng: np.random.Generator) -> np.ndarray:
  """For each of `count` (at least two) images the number of another, each used once."""
  order = rng.permutation(count)
  result = np.empty(count, np.int64)
  result[order] = np.roll(order, 1)  # one cycle through all: no image stays in place
  return result
