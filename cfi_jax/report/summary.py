"""Means, bootstrap intervals, ranks and paired differences of a table of scores."""

import dataclasses
import math

import numpy as np
from scipy import stats

from cfi_jax.core.types import InputError
from cfi_jax.metrics import METRICS, Scores
from cfi_jax.report.estimates import Estimate, estimate


@dataclasses.dataclass(frozen=True)
class Entry:
  """One method under one metric.

  estimate: over the images on which the metric is not degenerate; count: their number.
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


def summarise(scores: Scores, compare_to: str) -> Summary:
  """Summarises scores whose metrics each appear under one convention.

  Images are resampled with replacement, the same ones for every method, so that differences are
  paired (percentile bootstrap).

  Raises:
    InputError: `compare_to` is not a method of the table, or the table is empty.
  """
  if not scores.rows:
    raise InputError("the table of scores is empty")
  if compare_to not in scores.methods:
    raise InputError(
      f"there is no method {compare_to!r} to compare to; methods: {', '.join(scores.methods)}"
    )
  entries = {}
  for metric in scores.metrics:
    values = scores.values(metric)
    reference = values[scores.methods.index(compare_to)]
    estimates = [estimate(row) for row in values]
    sign = 1 if METRICS[metric].direction == "lower" else -1
    means = [sign * each.mean for each in estimates]
    ranks = stats.rankdata(means, method="min", nan_policy="omit")
    for method, row, found, rank in zip(scores.methods, values, estimates, ranks, strict=True):
      entries[metric, method] = Entry(
        metric=metric,
        method=method,
        estimate=found,
        count=int(np.isfinite(row).sum()),
        rank=None if math.isnan(rank) else int(rank),
        difference=None if method == compare_to else estimate(row - reference),
      )
  return Summary(
    methods=scores.methods,
    metrics=scores.metrics,
    conventions={row.metric: row.convention for row in scores.rows},
    images=len(scores.names),
    compare_to=compare_to,
    entries=entries,
  )
