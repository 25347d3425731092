"""The numbers that an analysis finds, each with its interval, in one long table."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cfi_jax.report.estimates import Estimate, estimate

COLUMNS = ("model", "analysis", "quantity", "condition", "x", "mean", "low", "high", "samples")

# The numbers of one sample by quantity, condition and x (None where there is no axis).
Row = Mapping[tuple[str, str, float | None], float]


@dataclasses.dataclass(frozen=True)
class Finding:
  """One number about one model.

  analysis: the part it belongs to ("effects", "gates", "contribution", "features", "shift").
  quantity: the name of the number. condition: an intervention, a level or a modality.
  estimate: mean over samples with its 95 % bootstrap interval; samples: their number.
  x: the place on the axis of a dose-response or sweep, NaN where there is none.
  """

  model: str
  analysis: str
  quantity: str
  condition: str
  estimate: Estimate
  samples: int
  x: float = math.nan


def find(
  model: str,
  analysis: str,
  quantity: str,
  condition: str,
  values: np.ndarray,
  x: float = math.nan,
) -> Finding:
  """The finding of one value per sample, [N]; those that are not finite are left out.

  One sample alone has no interval: its ends are NaN.
  """
  values = np.asarray(values, np.float64)
  samples = int(np.isfinite(values).sum())
  found = estimate(values)
  if samples < 2:
    found = Estimate(found.mean, math.nan, math.nan)
  return Finding(model, analysis, quantity, condition, found, samples, x)


def tabulate(model: str, analysis: str, rows: Sequence[Row]) -> list[Finding]:
  """One finding per key of any row, in the order of first appearance; a row is one sample."""
  keys = dict.fromkeys(key for row in rows for key in row)
  return [
    find(
      model,
      analysis,
      quantity,
      condition,
      np.array([row.get((quantity, condition, x), np.nan) for row in rows]),
      math.nan if x is None else x,
    )
    for quantity, condition, x in keys
  ]


def to_csv(findings: Iterable[Finding]) -> str:
  """CSV text with the columns of `COLUMNS`; nine digits, and empty cells for NaN."""
  rows = []
  for f in findings:
    numbers = (f.x, f.estimate.mean, f.estimate.low, f.estimate.high)
    cells = ["" if math.isnan(value) else f"{value:.9g}" for value in numbers]
    rows.append((f.model, f.analysis, f.quantity, f.condition, *cells, f.samples))
  return csv_text(COLUMNS, rows)


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
  """A table as CSV text, lines ending in a newline."""
  text = io.StringIO(newline="")
  csv.writer(text, lineterminator="\n").writerows((header, *rows))
  return text.getvalue()
