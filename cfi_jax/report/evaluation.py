"""summary.md and report.html of an evaluation: the same tables in two languages."""

import html
import math
from collections.abc import Collection, Sequence

from cfi_jax.metrics import CONVENTIONS, METRICS
from cfi_jax.report import markdown, page
from cfi_jax.report.markdown import arrow, interval, number, plain
from cfi_jax.report.page import Cell
from cfi_jax.report.plots import interval_plot
from cfi_jax.report.summary import Summary


def write_summary(summary: Summary, notes: Sequence[str], title: str) -> str:
  """The text of summary.md: an overview of means, then one table per metric."""
  rows = [
    [plain(method), *(f"**{c.text}**" if c.best else c.text for c in cells)]
    for method, cells in _means(summary)
  ]
  overview = markdown.table(["method", *_headings(summary)], rows)
  sections = [_section(summary, metric) for metric in summary.metrics]
  parts = [_conventions(summary), overview, *sections]
  return markdown.document(title, parts, notes)


def write_means(summary: Summary) -> str:
  """The means as a table of plain text, a metric a row; * marks the best method of each."""
  head = ["mean (* best)", *summary.methods]
  rows = [head]
  for metric in summary.metrics:
    entries = [summary.entries[metric, method] for method in summary.methods]
    means = [number(e.estimate.mean) + ("*" if e.rank == 1 else " ") for e in entries]
    rows.append([f"{_label(summary, metric)}, {METRICS[metric].direction}", *means])
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for name, *cells in rows:
    right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    lines.append("  ".join([name.ljust(widths[0]), *right]).rstrip())
  return "\n".join(lines)


def write_page(
  summary: Summary,
  exhibits: Sequence[page.Exhibit],
  notes: Sequence[str],
  title: str,
  baselines: Collection[str] = (),
) -> str:
  """The text of report.html: tables, plots, pictures with a slider, notes.

  baselines: the methods to set apart as trivial ones.
  """
  directions = _headings(summary)
  body = [
    f"<p>{html.escape(_conventions(summary).replace('`', ''))} Click a heading to sort; "
    "methods in italics are trivial baselines and the noise control.</p>",
    page.table("overview", ["method", *directions], _means(summary), directions, baselines),
    "<h2>Pictures</h2>" + page.pictures(exhibits) if exhibits else "",
    '<h2>Means and 95 % intervals</h2><div class="plots">',
    *(_plot(summary, metric) for metric in summary.metrics),
    "</div><h2>Tables</h2>",
    *(_details(summary, metric, baselines) for metric in summary.metrics),
  ]
  return page.document(title, body, notes)


def _conventions(summary: Summary) -> str:
  """One paragraph on the conventions of the metrics and the meaning of the numbers."""
  used = dict.fromkeys(summary.conventions.values())
  named = "; ".join(f"`{name}` ({CONVENTIONS[name]})" for name in used)
  return (
    f"Convention: {named}. {summary.images} images. Means over images, with 95 % bootstrap "
    "intervals in brackets; scores of different conventions must not be compared."
  )


def _label(summary: Summary, metric: str) -> str:
  """The metric's name, with its convention where the table mixes conventions."""
  if len(set(summary.conventions.values())) == 1:
    return metric
  return f"{metric} ({summary.conventions[metric]})"


def _headings(summary: Summary) -> dict[str, str]:
  """Headings of the metrics, each with its better direction."""
  return {f"{_label(summary, m)} {arrow(m)}": METRICS[m].direction for m in summary.metrics}


def _means(summary: Summary) -> list[page.Row]:
  """The mean of every metric by method."""
  found: list[page.Row] = []
  for method in summary.methods:
    entries = [summary.entries[metric, method] for metric in summary.metrics]
    means = [Cell(number(e.estimate.mean), e.estimate.mean, e.rank == 1) for e in entries]
    found.append((method, means))
  return found


def _ranking(summary: Summary, metric: str) -> tuple[list[str], list[page.Row]]:
  """Labels of the columns and one row per method, best first."""
  rows: list[page.Row] = []
  for entry in summary.ranked(metric):
    estimate, difference = entry.estimate, entry.difference
    cells = [
      Cell(str(entry.rank or "-"), entry.rank or math.nan),
      Cell(number(estimate.mean), estimate.mean, entry.rank == 1),
      Cell(interval(estimate), estimate.low),
      Cell(number(difference.mean), difference.mean) if difference else Cell(""),
      Cell(interval(difference), difference.low) if difference else Cell(""),
      Cell(str(entry.count), entry.count),
    ]
    rows.append((entry.method, cells))
  compared = f"difference to {summary.compare_to}"
  return ["rank", "mean", "95 % interval", compared, "95 % interval", "images"], rows


def _better(metric: str) -> str:
  """The better direction and the unit."""
  definition = METRICS[metric]
  return f"{definition.direction} is better" + (f", {definition.unit}" if definition.unit else "")


def _section(summary: Summary, metric: str) -> str:
  """The table of one metric in Markdown; the rank comes first."""
  (rank, *labels), rows = _ranking(summary, metric)
  lines = [
    [place.text, plain(method), *(cell.text for cell in cells)] for method, (place, *cells) in rows
  ]
  table = markdown.table([rank, "method", *map(plain, labels)], lines)
  heading = f"## {_label(summary, metric)}: {METRICS[metric].title}"
  return f"{heading}\n\n{_better(metric)}.\n\n{table}"


def _details(summary: Summary, metric: str, baselines: Collection[str]) -> str:
  """The table of one metric in HTML, folded away; the method comes first."""
  labels, rows = _ranking(summary, metric)
  caption = f"{_label(summary, metric)}: {METRICS[metric].title} ({_better(metric)})"
  table = page.table(f"table-{metric}", ["method", *labels], rows, baselines=baselines)
  return f"<details><summary>{html.escape(caption)}</summary>{table}</details>"


def _plot(summary: Summary, metric: str) -> str:
  caption = f"{_label(summary, metric)} {arrow(metric)} {METRICS[metric].title}"
  plot = interval_plot(summary.ranked(metric), summary.compare_to)
  return f"<figure><figcaption>{html.escape(caption)}</figcaption>{plot}</figure>"
