"""The summary of an evaluation as Markdown."""

import html
import math
from collections.abc import Iterable, Sequence

from cfi_jax.metrics import CONVENTIONS, METRICS
from cfi_jax.report.summary import Entry, Estimate, Summary


def write_summary(summary: Summary, notes: Sequence[str], title: str) -> str:
  """The text of summary.md: an overview of means, then one table per metric."""
  parts = [f"# {plain(title)}", describe_conventions(summary), _overview(summary)]
  for metric in summary.metrics:
    parts.append(_metric_section(summary, metric))
  if notes:
    parts.append("## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in notes))
  return "\n\n".join(parts) + "\n"


def describe_conventions(summary: Summary) -> str:
  """Which convention was used and what the numbers mean, as one paragraph."""
  used = dict.fromkeys(summary.conventions.values())
  named = "; ".join(f"`{name}` ({CONVENTIONS[name]})" for name in used)
  return (
    f"Convention: {named}. {summary.images} images. Means over images, with 95 % bootstrap "
    "intervals in brackets; scores of different conventions must not be compared."
  )


def number(value: float) -> str:
  """Four significant digits at least; a dash for what is not defined."""
  if math.isnan(value):
    return "-"
  if value == 0:
    return "0.0000"
  if not 1e-3 <= abs(value) < 1e4:
    return f"{value:.3e}"
  exponent = math.floor(math.log10(abs(value)))
  return f"{value:.{max(2, (4 if exponent >= 0 else 3) - exponent)}f}"


def interval(estimate: Estimate) -> str:
  """`[low, high]`."""
  if math.isnan(estimate.mean):
    return "-"
  return f"[{number(estimate.low)}, {number(estimate.high)}]"


def arrow(metric: str) -> str:
  """Which direction is better."""
  return "↑" if METRICS[metric].direction == "higher" else "↓"


def metric_label(summary: Summary, metric: str) -> str:
  """The metric's name, with its convention where the table mixes conventions."""
  if len(set(summary.conventions.values())) == 1:
    return metric
  return f"{metric} ({summary.conventions[metric]})"


def _overview(summary: Summary) -> str:
  header = ["method", *(f"{metric_label(summary, m)} {arrow(m)}" for m in summary.metrics)]
  rows = []
  for method in summary.methods:
    cells = []
    for metric in summary.metrics:
      entry = summary.entries[metric, method]
      text = number(entry.estimate.mean)
      cells.append(f"**{text}**" if entry.rank == 1 else text)
    rows.append([plain(method), *cells])
  return table(header, rows)


def _metric_section(summary: Summary, metric: str) -> str:
  definition = METRICS[metric]
  unit = f", {definition.unit}" if definition.unit else ""
  heading = f"## {metric_label(summary, metric)}: {definition.title}"
  header = [
    "rank",
    "method",
    "mean",
    "95 % interval",
    f"difference to {plain(summary.compare_to)}",
    "95 % interval",
    "images",
  ]
  rows = [_cells(entry) for entry in summary.ranked(metric)]
  return f"{heading}\n\n{definition.direction} is better{unit}.\n\n{table(header, rows)}"


def _cells(entry: Entry) -> list[str]:
  difference = ["", ""]
  if entry.difference is not None:
    difference = [number(entry.difference.mean), interval(entry.difference)]
  return [
    str(entry.rank or "-"),
    plain(entry.method),
    number(entry.estimate.mean),
    interval(entry.estimate),
    *difference,
    str(entry.count),
  ]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table; names in it must have passed through `plain`."""
  lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
  return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def plain(text: str) -> str:
  """Text in which a name can neither break a table nor be read as HTML."""
  text = html.escape(text, quote=False)
  return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
