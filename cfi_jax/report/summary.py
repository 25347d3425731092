"""Means, bootstrap intervals, ranks and paired differences of a table of scores."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.metrics import Columns, Scores
from cfi_jax.report.estimates import Estimate, estimate
from cfi_jax.report.ranks import RANKED, mean_ranks, ranks


@dataclasses.dataclass(frozen=True)
class Entry:
  """One method under one metric.

  estimate: over the images on which the metric is not degenerate; count: their number. A published
    mean has no interval, and its count is None.
  rank: 1 is best, methods of equal mean share a rank; None without a mean.
  difference: method minus the compared method on the images that both have; None for the compared
    method itself and for published means.
  """

  metric: str
  method: str
  estimate: Estimate
  count: int | None
  rank: int | None
  difference: Estimate | None


@dataclasses.dataclass(frozen=True)
class Summary:
  """All entries of a table.

  methods: those that were scored, then those that were published. compare_to: the method that
    differences refer to.
  mean_ranks: by method, see `ranks.mean_ranks`; NaN where a method is not ranked.
  """

  methods: tuple[str, ...]
  published: tuple[str, ...]
  metrics: tuple[str, ...]
  conventions: dict[str, str]
  images: int
  compare_to: str
  entries: dict[tuple[str, str], Entry]
  mean_ranks: dict[str, float]

  @property
  def ranked_by(self) -> tuple[str, ...]:
    """The metrics that mean ranks are taken over, of those in the table."""
    return tuple(metric for metric in RANKED if metric in self.metrics)

  @property
  def by_mean_rank(self) -> list[tuple[str, float]]:
    """The methods that are ranked with their mean ranks, best first."""
    found = [(m, rank) for m, rank in self.mean_ranks.items() if not math.isnan(rank)]
    return sorted(found, key=lambda one: one[1])

  def ranked(self, metric: str) -> list[Entry]:
    """The entries of a metric, best first; those without a mean last."""
    entries = [self.entries[metric, method] for method in self.methods]
    return sorted(entries, key=lambda e: math.inf if e.rank is None else e.rank)


def summarise(
  scores: Scores | Columns,
  compare_to: str,
  published: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> Summary:
  """Summarises scores whose metrics each appear under one convention.

  Images are resampled with replacement, the same ones for every method, so that differences are
  paired (percentile bootstrap).

  published: means by method, which no method of the scores has the name of, and metric; they are
    ranked among the others.

  Raises:
    InputError: `compare_to` is not a method of the scores, or they are empty.
  """
  if not len(scores):
    raise InputError("the table of scores is empty")
  if compare_to not in scores.methods:
    raise InputError(
      f"there is no method {compare_to!r} to compare to; methods: {', '.join(scores.methods)}"
    )
  methods = (*scores.methods, *published)
  entries = {
    (metric, entry.method): entry
    for metric in scores.metrics
    for entry in _entries(scores, metric, compare_to, published)
  }
  means = {m: {k: entries[k, m].estimate.mean for k in scores.metrics} for m in methods}
  return Summary(
    methods=methods,
    published=tuple(published),
    metrics=scores.metrics,
    conventions=dict(scores.conventions),
    images=len(scores.names),
    compare_to=compare_to,
    entries=entries,
    mean_ranks=mean_ranks(means),
  )


def _entries(
  scores: Scores | Columns,
  metric: str,
  compare_to: str,
  published: Mapping[str, Mapping[str, float]],
) -> list[Entry]:
  """The entries of one metric: of the scores, then of the published means."""
  values = scores.values(metric)
  reference = values[scores.methods.index(compare_to)]
  found: list[tuple[str, Estimate, int | None, Estimate | None]] = []
  for method, row in zip(scores.methods, values, strict=True):
    difference = None if method == compare_to else estimate(row - reference)
    found.append((method, estimate(row), int(np.isfinite(row).sum()), difference))
  for method, means in published.items():
    mean = means.get(metric, math.nan)
    found.append((method, Estimate(mean, math.nan, math.nan), None, None))
  places = ranks([own.mean for _, own, _, _ in found], metric, ties="min")
  return [
    Entry(metric, method, own, count, None if math.isnan(place) else int(place), difference)
    for (method, own, count, difference), place in zip(found, places, strict=True)
  ]
