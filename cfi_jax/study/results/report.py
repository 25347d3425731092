"""Tables of a study: means over images, then mean and standard deviation over seeds."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cfi_jax.metrics import CONVENTIONS, Scores
from cfi_jax.report.markdown import arrow, number, plain, table
from cfi_jax.study.grid import Run
from cfi_jax.study.results.settings import Study
from cfi_jax.study.rows import describe

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
    if math.isnan(self.deviation):
      return number(self.mean)
    if not self.deviation:
      return f"{number(self.mean)} ± 0"
    places = max(0, 1 - math.floor(math.log10(self.deviation)))
    return f"{self.mean:.{places}f} ± {self.deviation:.{places}f}"


def cell(seeds: Sequence[Scores], metric: str) -> Cell:
  """The cell of a metric in the scores of one row on one test."""
  means = np.array([scores.mean(metric, scores.methods[0]) for scores in seeds])
  deviation = float(means.std(ddof=1)) if len(means) > 1 else math.nan
  images = min(int((~np.isnan(scores.values(metric))).sum()) for scores in seeds)
  return Cell(float(means.mean()), deviation, images)


def to_csv(study: Study, results: Results) -> str:
  """One line per test, row and metric."""
  lines = []
  for test, rows in results.items():
    for row, own in rows.items():
      for metric in study.metrics:
        found = cell(own, metric)
        spread = "" if math.isnan(found.deviation) else f"{found.deviation:.9g}"
        key = (test, row, len(own) if row in study.rows else 0, metric, study.convention)
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
    "brackets their number. Images on which a metric is not defined are left out.",
    describe(study),
  ]
  header = ["", *(f"{metric} {arrow(metric)}" for metric in study.metrics)]
  for test, rows in results.items():
    images = len(next(iter(rows.values()))[0].names)
    lines = []
    for row, own in rows.items():
      label = f"{plain(row)} ({len(own)})" if row in study.rows else plain(row)
      lines.append([label, *(str(cell(own, metric)) for metric in study.metrics)])
    parts.append(f"## {plain(test)}: {images} pairs\n\n{table(header, lines)}")
  return "\n\n".join(parts) + "\n"
