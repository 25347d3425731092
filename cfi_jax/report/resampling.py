"""Bootstrap intervals of statistics that are no means over images: images are the units."""

import math

import numpy as np

from cfi_jax.report import estimates
from cfi_jax.report.estimates import Estimate, percentiles

DEFINED = 0.9  # share of the resamples that must give a number, or there is no interval


def draws(count: int, resamples: int, seed: int) -> np.ndarray:
  """Weights of `count` images, [1 + resamples, count]: a row of ones, then bootstrap resamples.

  A statistic written with weights per image gives its value in the first row and its resampled
  values in the others; see `interval`.
  """
  drawn = estimates.draws(count, seed, resamples)
  return np.concatenate([np.ones((1, count), drawn.dtype), drawn])


def interval(values: np.ndarray) -> Estimate:
  """The estimate of values [1 + resamples] of the rows of `draws`: the first, with its interval.

  The percentiles are moved so that the median of the resamples is the value. A share of variance
  is larger in resamples, which hold fewer different images. Where images are few, that bias exceeds
  the scatter, and bias-corrected percentiles have no width. So the interval is that of the
  statistic of as many images, its own bias included; compare it with a null or floor of as many.
  For a share that is noise it is 2 to 4 times too wide in trials; for others it is right.

  The interval is NaN where more than a tenth of the resamples give no number: they hold too few
  different images, and the rest would be lucky draws.
  """
  kept = values[1:][np.isfinite(values[1:])]
  if not np.isfinite(values[0]) or kept.size < DEFINED * (len(values) - 1):
    return Estimate(float(values[0]), math.nan, math.nan)
  return percentiles(values[0], kept - np.median(kept) + values[0])


def another(count: int, rng: np.random.Generator) -> np.ndarray:
  """The number of another image for each of `count` (at least two), each used once."""
  order = rng.permutation(count)
  result = np.empty(count, np.int64)
  result[order] = np.roll(order, 1)  # one cycle through all: no image stays in place
  return result
