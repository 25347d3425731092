"""An evaluation as one HTML page that needs no other file and no network."""

import html
import math
from collections.abc import Collection, Sequence

from cfi_jax.metrics import METRICS
from cfi_jax.report import page
from cfi_jax.report.markdown import arrow, describe_conventions, interval, metric_label, number
from cfi_jax.report.plots import interval_plot
from cfi_jax.report.summary import Summary


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
  body = [
    f"<h1>{html.escape(title)}</h1>",
    f"<p>{html.escape(describe_conventions(summary).replace('`', ''))} Click a heading to sort; "
    "methods in italics are trivial baselines and the noise control.</p>",
    _overview(summary, baselines),
    "<h2>Pictures</h2>" + page.pictures(exhibits) if exhibits else "",
    "<h2>Means and 95 % intervals</h2>",
    '<div class="plots">'
    + "".join(_plot(summary, metric) for metric in summary.metrics)
    + "</div>",
    "<h2>Tables</h2>",
    *(_metric_table(summary, metric, baselines) for metric in summary.metrics),
    page.notes_list(notes),
  ]
  return page.document(title, body)


def _overview(summary: Summary, baselines: Collection[str]) -> str:
  headings = [page.heading("method")] + [
    page.heading(f"{metric_label(summary, m)} {arrow(m)}", METRICS[m].direction)
    for m in summary.metrics
  ]
  rows = []
  for method in summary.methods:
    entries = [summary.entries[metric, method] for metric in summary.metrics]
    cells = [
      page.value(number(e.estimate.mean), e.estimate.mean, best=e.rank == 1) for e in entries
    ]
    rows.append(page.row(method, cells, baselines))
  return page.table("overview", headings, rows)


def _metric_table(summary: Summary, metric: str, baselines: Collection[str]) -> str:
  labels = ("method", "rank", "mean", "95 % interval", f"difference to {summary.compare_to}")
  headings = [page.heading(label) for label in (*labels, "95 % interval", "images")]
  rows = []
  for entry in summary.ranked(metric):
    estimate, difference = entry.estimate, entry.difference
    cells = [
      page.value(str(entry.rank or "-"), entry.rank or math.nan),
      page.value(number(estimate.mean), estimate.mean, best=entry.rank == 1),
      page.value(interval(estimate), estimate.low),
      page.value(number(difference.mean), difference.mean) if difference else "<td></td>",
      page.value(interval(difference), difference.low) if difference else "<td></td>",
      page.value(str(entry.count), entry.count),
    ]
    rows.append(page.row(entry.method, cells, baselines))
  definition = METRICS[metric]
  unit = f", {definition.unit}" if definition.unit else ""
  caption = f"{metric_label(summary, metric)}: {definition.title} ({definition.direction} is better"
  return (
    f"<details><summary>{html.escape(caption + unit)})</summary>"
    f"{page.table(f'table-{metric}', headings, rows)}</details>"
  )


def _plot(summary: Summary, metric: str) -> str:
  caption = f"{metric_label(summary, metric)} {arrow(metric)} {METRICS[metric].title}"
  plot = interval_plot(summary.ranked(metric), summary.compare_to)
  return f"<figure><figcaption>{html.escape(caption)}</figcaption>{plot}</figure>"
