"""Ranks of methods by their scores, and the mean of a method's ranks over several scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from cfi_jax.metrics import METRICS

# Twelve scores of quality; those of artefacts are reported beside them.
RANKED = ("AG", "SF", "EN", "SD", "PSNR", "CC", "SCD", "MI", "VIF", "Qabf", "SSIM", "MS_SSIM")

HEADING = "mean rank ↓"  # of a column


def describe(metrics: Sequence[str]) -> str:
  """A sentence on mean ranks over these metrics, to stand above a table."""
  return (
    f"Mean rank: the mean of a row's ranks on {', '.join(metrics)} among those rows of its table "
    "that have a score on each; 1 is the best, and equal scores share the mean of their ranks."
  )


def ranks(
  values: Sequence[float] | np.ndarray, metric: str, ties: Literal["average", "min"]
) -> np.ndarray:
  """Ranks [N] of the values [N] of one metric, 1 the best in the metric's direction.

  ties: equal values get the mean of their ranks ("average") or the best of them ("min"). A value
  that is not finite has the rank NaN, and the others are ranked without it.
  """
  sign = 1 if METRICS[metric].direction == "lower" else -1
  found = sign * np.asarray(values, np.float64)
  found = np.where(np.isfinite(found), found, np.nan)
  return stats.rankdata(found, method=ties, nan_policy="omit")


def mean_ranks(
  means: Mapping[str, Mapping[str, float]], metrics: Sequence[str] = RANKED
) -> dict[str, float]:
  """Mean rank of every row of a table of scores.

  The ranks of a row among all rows on each of the metrics, by the metric's own direction, are
  averaged; equal scores share the mean of their ranks. Metrics that no row has are left out. A row
  that lacks one that another row has, as a source image lacks SCD, is not ranked: it does not count
  among the others, and its mean rank is NaN.

  means: the score by row and metric; one that is not finite is missing, as one that is not there.

  Returns:
    The mean rank by row, from 1 to the number of ranked rows; lower is better.
  """
  table = np.array([[row.get(metric, math.nan) for metric in metrics] for row in means.values()])
  table = table.reshape(len(means), len(metrics))
  table = np.where(np.isfinite(table), table, np.nan)
  scored = ~np.isnan(table).all(axis=0)
  whole = ~np.isnan(table[:, scored]).any(axis=1) & scored.any()
  found = np.full(len(means), math.nan)
  if whole.any():
    chosen = [k for k in range(len(metrics)) if scored[k]]
    found[whole] = np.mean([ranks(table[whole, k], metrics[k], "average") for k in chosen], axis=0)
  return dict(zip(means, found.tolist(), strict=True))
