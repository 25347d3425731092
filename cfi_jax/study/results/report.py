"""Tables of a study: means over images, then mean and standard deviation over seeds."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.metrics import CONVENTIONS, Scores
from cfi_jax.report.markdown import arrow, number, plain, table
from cfi_jax.study.results.study import Study
from cfi_jax.systems.isfuse import recipes

COLUMNS = ("test", "row", "seeds", "metric", "convention", "mean", "standard deviation", "images")


@dataclasses.dataclass(frozen=True)
class Result:
  """The scores of one method on one test; `seed` is None where nothing was trained."""

  row: str
  seed: int | None
  test: str
  scores: Scores


@dataclasses.dataclass(frozen=True)
class Cell:
  """One metric of one row on one test.

  mean, deviation: over seeds, of the means over images; the deviation is that of a sample (n - 1),
    NaN with fewer than two seeds. seeds: their number, 0 where nothing was trained. images: those
    on which the metric is defined, of the seed that has fewest.
  """

  mean: float
  deviation: float
  seeds: int
  images: int


def cell(results: Sequence[Result], metric: str) -> Cell:
  """What the results of one row on one test say of a metric."""
  means = np.array([r.scores.mean(metric, r.scores.methods[0]) for r in results])
  deviation = float(means.std(ddof=1)) if len(means) > 1 else math.nan
  counts = [int((~np.isnan(r.scores.values(metric))).sum()) for r in results]
  seeds = sum(r.seed is not None for r in results)
  return Cell(float(means.mean()), deviation, seeds, min(counts))


def to_csv(study: Study, results: Sequence[Result]) -> str:
  """One line per test, row and metric."""
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  for test in study.score:
    for row, own in _rows(results, test).items():
      for metric in study.metrics:
        c = cell(own, metric)
        spread = "" if math.isnan(c.deviation) else f"{c.deviation:.9g}"
        values = (f"{c.mean:.9g}", spread, c.images)
        writer.writerow((test, row, c.seeds, metric, study.convention, *values))
  return text.getvalue()


def to_curves(runs: Mapping[tuple[str, int], Sequence[Mapping]]) -> str:
  """The training curves: one line per row, seed and logged step; runs: of their metrics files."""
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(("row", "seed", "step", "loss"))
  for (row, seed), logged in runs.items():
    for entry in logged:
      if entry["kind"] == "train":
        writer.writerow((row, seed, entry["step"], f"{entry['loss']:.6g}"))
  return text.getvalue()


def to_markdown(study: Study, results: Sequence[Result]) -> str:
  """The text of results.md: one table per test."""
  parts = [
    "# Results",
    f"Convention `{study.convention}` ({CONVENTIONS[study.convention]}). Means over the images of "
    "a test; for what was trained from several seeds mean ± standard deviation over seeds, in "
    "brackets their number. Images on which a metric is not defined are left out.",
    _describe(study),
  ]
  for test in study.score:
    rows = _rows(results, test)
    images = len(next(iter(rows.values()))[0].scores.names)
    header = ["", *(f"{metric} {arrow(metric)}" for metric in study.metrics)]
    lines = [
      [_label(row, own), *(_text(cell(own, metric)) for metric in study.metrics)]
      for row, own in rows.items()
    ]
    parts.append(f"## {plain(test)}: {images} pairs\n\n{table(header, lines)}")
  return "\n\n".join(parts) + "\n"


def _describe(study: Study) -> str:
  """What each row is, by what differs: the first from the release, later ones from an earlier row.

  That is the one which they have most in common with.
  """
  release = recipes.released().to_dict() | {"data": {}, "validation_metrics": ()}
  lines, known = [], {"the recipe released": _flatten(release)}
  for row in study.order:
    own = _flatten(dataclasses.asdict(study.rows[row]) | {"data": {}, "validation_metrics": ()})
    changes = {name: _differences(earlier, own) for name, earlier in known.items()}
    if len(known) > 1:
      del changes["the recipe released"]
    nearest = min(changes, key=lambda name: len(changes[name]))
    lines.append(f"- `{row}`: {nearest}, but {', '.join(changes[nearest]) or 'nothing'}")
    known[f"`{row}`"] = own
  return "\n".join(lines)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested settings as one mapping, `a.b` to a value."""
  flat = {}
  for key, value in values.items():
    nested = isinstance(value, Mapping)
    flat |= _flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
  return flat


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """What distinguishes `new` from `old`; the terms of a fusion loss can also be missing."""
  changed = [f"{key} {value}" for key, value in new.items() if old.get(key) != value]
  return changed + [f"no {key}" for key in old if key not in new]


def _rows(results: Sequence[Result], test: str) -> dict[str, list[Result]]:
  rows: dict[str, list[Result]] = {}
  for result in results:
    if result.test == test:
      rows.setdefault(result.row, []).append(result)
  return rows


def _label(row: str, own: Sequence[Result]) -> str:
  return plain(row) if own[0].seed is None else f"{plain(row)} ({len(own)})"


def _text(found: Cell) -> str:
  """Mean and deviation, both to the deviation's second digit."""
  if math.isnan(found.deviation):
    return number(found.mean)
  if not found.deviation:
    return f"{number(found.mean)} ± 0"
  places = 1 - math.floor(math.log10(found.deviation))
  return f"{found.mean:.{max(0, places)}f} ± {found.deviation:.{max(0, places)}f}"
