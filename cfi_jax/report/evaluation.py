"""summary.md and report.html of an evaluation: the same tables in two languages."""

import html
import math
from collections.abc import Collection, Sequence

from cfi_jax.metrics import CONVENTIONS, METRICS
from cfi_jax.report import markdown, page, ranks
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
  """The means as a table of plain text, a metric a row; * marks the best method of each.

  The mean ranks are the first row. Published means are not repeated; with them a list of all
  methods by mean rank follows.
  """
  scored = [method for method in summary.methods if method not in summary.published]
  cells = dict(_means(summary))
  labels = [f"{_label(summary, m)}, {METRICS[m].direction}" for m in summary.metrics]
  if summary.ranked_by:
    labels.insert(0, "mean rank, lower")
  rows = [["mean (* best)", *scored]]
  for k, label in enumerate(labels):
    column = [cells[method][k] for method in scored]
    rows.append([label, *(cell.text + ("*" if cell.best else " ") for cell in column)])
  text = _columns(rows)
  if summary.published and summary.ranked_by:
    places = [[method, number(rank)] for method, rank in summary.by_mean_rank]
    text += f"\n\n{_columns([['by mean rank', ''], *places])}"
  return text


def _columns(rows: Sequence[Sequence[str]]) -> str:
  """Lines of text with the first column flush left and the others flush right."""
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
  text = (
    f"Convention: {named}. {summary.images} images. Means over images, with 95 % bootstrap "
    "intervals in brackets; scores of different conventions must not be compared."
  )
  return f"{text} {ranks.describe(summary.ranked_by)}" if summary.ranked_by else text


def _label(summary: Summary, metric: str) -> str:
  """The metric's name, with its convention where the table mixes conventions."""
  if len(set(summary.conventions.values())) == 1:
    return metric
  return f"{metric} ({summary.conventions[metric]})"


def _headings(summary: Summary) -> dict[str, str]:
  """Headings of the mean rank and the metrics, each with its better direction."""
  ranked = {ranks.HEADING: "lower"} if summary.ranked_by else {}
  return ranked | {
    f"{_label(summary, m)} {arrow(m)}": METRICS[m].direction for m in summary.metrics
  }


def _means(summary: Summary) -> list[page.Row]:
  """The mean rank and the mean of every metric by method."""
  best = min(dict(summary.by_mean_rank).values(), default=None)
  found: list[page.Row] = []
  for method in summary.methods:
    entries = [summary.entries[metric, method] for metric in summary.metrics]
    means = [Cell(number(e.estimate.mean), e.estimate.mean, e.rank == 1) for e in entries]
    if summary.ranked_by:
      rank = summary.mean_ranks[method]
      means.insert(0, Cell(number(rank), rank, rank == best))
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
      Cell("") if entry.count is None else Cell(str(entry.count), entry.count),
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
