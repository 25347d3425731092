"""Tables of a study: means over images, then mean and standard deviation over seeds; mean ranks."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cfi_jax.metrics import CONVENTIONS, Scores
from cfi_jax.report import ranks
from cfi_jax.report.markdown import arrow, deviating, plain, table
from cfi_jax.study.grid import Run
from cfi_jax.study.results.settings import Study
from cfi_jax.study.rows import describe
from cfi_jax.weights import shipped

MEAN_RANK = "mean rank"  # beside the names of metrics
TRAINED = (
  "- what is trained here: no step and no seed is chosen by the pairs below, the last step counts"
)
COLUMNS = ("test", "row", "seeds", "metric", "convention", "mean", "standard deviation", "images")

# Scores by test and row: of one method each, one per seed, or one alone where nothing was trained.
Results = Mapping[str, Mapping[str, Sequence[Scores]]]


class Cell(NamedTuple):
  """One metric of one row on one test.

  mean, deviation: over seeds, of the means over images; the deviation is that of a sample (n - 1),
    NaN with fewer than two seeds. images: those on which the metric is defined, of the seed that
    has fewest.
  """

  mean: float
  deviation: float
  images: int

  def __str__(self) -> str:
    """Mean and deviation, both to the deviation's second digit."""
    return deviating(self.mean, self.deviation)


def cell(seeds: Sequence[Scores], metric: str) -> Cell:
  """The cell of a metric in the scores of one row on one test."""
  means = np.array([scores.mean(metric, scores.methods[0]) for scores in seeds])
  deviation = float(means.std(ddof=1)) if len(means) > 1 else math.nan
  images = min(int((~np.isnan(scores.values(metric))).sum()) for scores in seeds)
  return Cell(float(means.mean()), deviation, images)


def cells(study: Study, rows: Mapping[str, Sequence[Scores]]) -> dict[str, dict[str, Cell]]:
  """The cells of a test's table by row: the mean rank, where there is one, and each metric.

  The mean rank of a row that was trained from several seeds is that of its means over them.
  """
  found = {row: {m: cell(own, m) for m in study.metrics} for row, own in rows.items()}
  ranked_by = _ranked_by(study)
  if not ranked_by:
    return found
  means = {row: {m: one.mean for m, one in own.items()} for row, own in found.items()}
  places = ranks.mean_ranks(means)
  for row, own in found.items():
    images = min(own[m].images for m in ranked_by)
    found[row] = {MEAN_RANK: Cell(places[row], math.nan, images), **own}
  return found


def _ranked_by(study: Study) -> list[str]:
  """The metrics that mean ranks are taken over, of those of the study."""
  return [metric for metric in ranks.RANKED if metric in study.metrics]


def to_csv(study: Study, results: Results) -> str:
  """One line per test, row and metric, the mean rank of a row before its metrics."""
  lines = []
  for test, rows in results.items():
    for row, own in cells(study, rows).items():
      for metric, found in own.items():
        spread = "" if math.isnan(found.deviation) else f"{found.deviation:.9g}"
        seeds = len(rows[row]) if row in study.rows else 0
        key = (test, row, seeds, metric, study.convention)
        lines.append((*key, f"{found.mean:.9g}", spread, found.images))
  return _csv(COLUMNS, lines)


def to_curves(runs: Mapping[Run, Sequence[Mapping]]) -> str:
  """The training curves, one line per row, seed and logged step; runs: rows of metrics files."""
  lines = (
    (row, seed, entry["step"], f"{entry['loss']:.6g}")
    for (row, seed), logged in runs.items()
    for entry in logged
    if entry["kind"] == "train"
  )
  return _csv(("row", "seed", "step", "loss"), lines)


def _csv(header: Sequence[str], lines: Iterable[Sequence]) -> str:
  text = io.StringIO(newline="")
  csv.writer(text, lineterminator="\n").writerows((header, *lines))
  return text.getvalue()


def to_markdown(study: Study, results: Results) -> str:
  """The text of results.md: one table per test."""
  parts = [
    "# Results",
    f"Convention `{study.convention}` ({CONVENTIONS[study.convention]}). Means over the images of "
    "a test; for what was trained from several seeds mean ± standard deviation over seeds, in "
    "brackets their number. Images on which a metric is not defined are left out."
    + (f" {ranks.describe(_ranked_by(study))}" if _ranked_by(study) else ""),
    *(text for text in (describe(study), describe_choices(study)) if text),
  ]
  header = ["", *(f"{metric} {arrow(metric)}" for metric in study.metrics)]
  if _ranked_by(study):
    header.insert(1, ranks.HEADING)
  for test, rows in results.items():
    images = len(next(iter(rows.values()))[0].names)
    lines = []
    for row, own in cells(study, rows).items():
      label = f"{plain(row)} ({len(rows[row])})" if row in study.rows else plain(row)
      lines.append([label, *map(str, own.values())])
    parts.append(f"## {plain(test)}: {images} pairs\n\n{table(header, lines)}")
  return "\n\n".join(parts) + "\n"


def describe_choices(study: Study) -> str:
  """Pairs that the published weights were chosen by, and the tests that only report on them."""
  lines = []
  for name, weights in study.published.items():
    if not weights:
      continue
    if weights not in shipped.CHOSEN:
      lines.append(f"- `{name}`: by which pairs these weights were chosen is not recorded here")
      continue
    choice = shipped.CHOSEN[weights]
    others = [test for test in study.score if study.tests[test]["name"] not in choice.tests]
    only = f"; {', '.join(others)}: only reported on" if others else ""
    lines.append(f"- `{name}` ({weights}): {choice}{only}")
  if study.order:
    lines.append(TRAINED)
  return "\n".join(lines)
