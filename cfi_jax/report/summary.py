"""Means, bootstrap intervals, ranks and paired differences of a table of scores."""

import dataclasses
import functools
import math

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.metrics import METRICS, Scores

RESAMPLES = 4000
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean over images and its 95 % bootstrap interval; NaN where no image is left."""

  mean: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Entry:
  """One method under one metric.

  estimate: over the images on which the metric is not degenerate; count: how many those are.
  rank: 1 is best, methods of equal mean share a rank; None without a mean.
  difference: method minus the compared method on the images that both have; None for the compared
    method itself.
  """

  metric: str
  method: str
  estimate: Estimate
  count: int
  rank: int | None
  difference: Estimate | None


@dataclasses.dataclass(frozen=True)
class Summary:
  """All entries of a table; `compare_to` is the method that differences refer to."""

  methods: tuple[str, ...]
  metrics: tuple[str, ...]
  conventions: dict[str, str]
  images: int
  compare_to: str
  entries: dict[tuple[str, str], Entry]

  def ranked(self, metric: str) -> list[Entry]:
    """The entries of a metric, best first; those without a mean last."""
    entries = [self.entries[metric, method] for method in self.methods]
    return sorted(entries, key=lambda e: math.inf if e.rank is None else e.rank)


def summarise(scores: Scores, compare_to: str, seed: int = 0) -> Summary:
  """Summarises scores whose metrics each appear under one convention.

  Images are resampled with replacement, the same ones for every method, so that differences are
  paired (percentile bootstrap, `RESAMPLES` draws).

  Raises:
    InputError: `compare_to` is not a method of the table, or the table is empty.
  """
  if not scores.rows:
    raise InputError("the table of scores is empty")
  if compare_to not in scores.methods:
    raise InputError(
      f"there is no method {compare_to!r} to compare to; methods: {', '.join(scores.methods)}"
    )
  count = len(scores.names)
  draws = _draws(count, seed)
  entries = {}
  for metric in scores.metrics:
    values = scores.values(metric)
    reference = values[scores.methods.index(compare_to)]
    means = [_mean(row) for row in values]
    ranks = _ranks(means, METRICS[metric].direction)
    for method, row, rank in zip(scores.methods, values, ranks, strict=True):
      entries[metric, method] = Entry(
        metric=metric,
        method=method,
        estimate=_estimate(row, draws),
        count=int(np.isfinite(row).sum()),
        rank=rank,
        difference=None if method == compare_to else _estimate(row - reference, draws),
      )
  return Summary(
    methods=scores.methods,
    metrics=scores.metrics,
    conventions={row.metric: row.convention for row in scores.rows},
    images=count,
    compare_to=compare_to,
    entries=entries,
  )


def estimate(values: np.ndarray, seed: int = 0) -> Estimate:
  """The mean of values [N] with its percentile bootstrap interval; only finite ones count."""
  return _estimate(values, _draws(len(values), seed))


@functools.lru_cache(maxsize=2)  # an analysis asks for the same draws a thousand times
def _draws(count: int, seed: int) -> np.ndarray:
  """How often each of `count` images is drawn in each resample, [resamples, images]."""
  return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)


def _mean(values: np.ndarray) -> float:
  kept = values[np.isfinite(values)]
  return float(kept.mean()) if kept.size else math.nan


def _estimate(values: np.ndarray, draws: np.ndarray) -> Estimate:
  """values [images], NaN where left out; draws: see `_draws`."""
  kept = np.isfinite(values)
  if not kept.any():
    return Estimate(math.nan, math.nan, math.nan)
  weights = draws[:, kept]
  drawn = weights.sum(axis=1)
  means = (weights @ values[kept])[drawn > 0] / drawn[drawn > 0]
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(means, [tail, 1 - tail])
  return Estimate(float(values[kept].mean()), float(low), float(high))


def _ranks(means: list[float], direction: str) -> list[int | None]:
  signed = [mean if direction == "lower" else -mean for mean in means]
  return [None if math.isnan(s) else 1 + sum(other < s for other in signed) for s in signed]
