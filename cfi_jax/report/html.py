"""An evaluation as one HTML page that needs no other file and no network."""

import base64
import dataclasses
import html
import io
import math
from collections.abc import Collection, Sequence

import numpy as np
from PIL import Image

from cfi_jax.metrics import METRICS
from cfi_jax.report.assets import SCRIPT, STYLE
from cfi_jax.report.markdown import (
  arrow,
  describe_conventions,
  interval,
  metric_label,
  number,
)
from cfi_jax.report.plots import interval_plot
from cfi_jax.report.summary import Summary

SIDE = 320  # pixels of the longer side of an embedded picture
QUALITY = 85


@dataclasses.dataclass(frozen=True, eq=False)
class Exhibit:
  """The pictures of one scene: (label, uint8 [H, W] or [H, W, 3]), the same labels in every one."""

  name: str
  pictures: tuple[tuple[str, np.ndarray], ...]


def write_page(
  summary: Summary,
  exhibits: Sequence[Exhibit],
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
    "<h2>Pictures</h2>" + _pictures(exhibits) if exhibits else "",
    "<h2>Means and 95 % intervals</h2>",
    '<div class="plots">'
    + "".join(_plot(summary, metric) for metric in summary.metrics)
    + "</div>",
    "<h2>Tables</h2>",
    *(_metric_table(summary, metric, baselines) for metric in summary.metrics),
    "<h2>Notes</h2><ul>" + "".join(f"<li>{html.escape(n)}</li>" for n in notes) + "</ul>"
    if notes
    else "",
  ]
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,">'
    f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
    f"<body>{''.join(body)}<script>{SCRIPT}</script></body></html>\n"
  )


def _heading(label: str, direction: str = "lower") -> str:
  return f'<th><button data-direction="{direction}">{html.escape(label)}</button></th>'


def _row(method: str, cells: Sequence[str], baselines: Collection[str]) -> str:
  style = ' class="baseline"' if method in baselines else ""
  return f"<tr{style}><td>{html.escape(method)}</td>{''.join(cells)}</tr>"


def _value(text: str, value: float, best: bool = False) -> str:
  data = "" if math.isnan(value) else f' data-value="{value:.9g}"'
  return f"<td{data}{' class=' + chr(34) + 'best' + chr(34) if best else ''}>{text}</td>"


def _overview(summary: Summary, baselines: Collection[str]) -> str:
  headings = [_heading("method")] + [
    _heading(f"{metric_label(summary, m)} {arrow(m)}", METRICS[m].direction)
    for m in summary.metrics
  ]
  rows = []
  for method in summary.methods:
    entries = [summary.entries[metric, method] for metric in summary.metrics]
    cells = [_value(number(e.estimate.mean), e.estimate.mean, best=e.rank == 1) for e in entries]
    rows.append(_row(method, cells, baselines))
  return _table("overview", headings, rows)


def _metric_table(summary: Summary, metric: str, baselines: Collection[str]) -> str:
  labels = ("method", "rank", "mean", "95 % interval", f"difference to {summary.compare_to}")
  headings = [_heading(label) for label in (*labels, "95 % interval", "images")]
  rows = []
  for entry in summary.ranked(metric):
    estimate, difference = entry.estimate, entry.difference
    cells = [
      _value(str(entry.rank or "-"), entry.rank or math.nan),
      _value(number(estimate.mean), estimate.mean, best=entry.rank == 1),
      _value(interval(estimate), estimate.low),
      _value(number(difference.mean), difference.mean) if difference else "<td></td>",
      _value(interval(difference), difference.low) if difference else "<td></td>",
      _value(str(entry.count), entry.count),
    ]
    rows.append(_row(entry.method, cells, baselines))
  definition = METRICS[metric]
  unit = f", {definition.unit}" if definition.unit else ""
  caption = f"{metric_label(summary, metric)}: {definition.title} ({definition.direction} is better"
  return (
    f"<details><summary>{html.escape(caption + unit)})</summary>"
    f"{_table(f'table-{metric}', headings, rows)}</details>"
  )


def _table(identifier: str, headings: Sequence[str], rows: Sequence[str]) -> str:
  return (
    f'<div class="wide"><table class="sortable" id="{html.escape(identifier)}">'
    f"<thead><tr>{''.join(headings)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
  )


def _plot(summary: Summary, metric: str) -> str:
  caption = f"{metric_label(summary, metric)} {arrow(metric)} {METRICS[metric].title}"
  plot = interval_plot(summary.ranked(metric), summary.compare_to)
  return f"<figure><figcaption>{html.escape(caption)}</figcaption>{plot}</figure>"


def _pictures(exhibits: Sequence[Exhibit]) -> str:
  labels = [label for label, _ in exhibits[0].pictures]
  left, right = (0, len(labels) - 1) if len(labels) < 3 else (1, 2)
  controls = [
    _select("scene", "scene", [e.name for e in exhibits], 0),
    _select("left", "left", labels, left),
    _select("right", "right", labels, right),
  ]
  blank = '<img alt=""><img alt="">'
  grids = "".join(_grid(exhibit, index) for index, exhibit in enumerate(exhibits))
  return (
    f'<div class="controls">{"".join(controls)}</div><div class="panels">'
    f'<figure><div class="pair" id="compare">{blank}</div>'
    '<input id="cut" type="range" min="0" max="100" value="50" aria-label="boundary">'
    "<figcaption>left of the boundary the first picture, right of it the second</figcaption>"
    f'</figure><figure><div class="pair" id="difference">{blank}</div>'
    "<figcaption>absolute difference of the two, four times as bright</figcaption>"
    f"</figure></div>{grids}"
  )


def _select(identifier: str, label: str, options: Sequence[str], chosen: int) -> str:
  entries = "".join(
    f"<option{' selected' if index == chosen else ''}>{html.escape(option)}</option>"
    for index, option in enumerate(options)
  )
  return f'<label>{label} <select id="{identifier}">{entries}</select></label>'


def _grid(exhibit: Exhibit, index: int) -> str:
  figures = "".join(
    f'<figure><img src="{_embed(picture)}" alt="{html.escape(label)}">'
    f"<figcaption>{html.escape(label)}</figcaption></figure>"
    for label, picture in exhibit.pictures
  )
  return f'<div class="exhibit"{" hidden" if index else ""}>{figures}</div>'


def _embed(picture: np.ndarray) -> str:
  """A small JPEG of uint8 [H, W] or [H, W, 3] as a data URI."""
  image = Image.fromarray(picture)
  image.thumbnail((SIDE, SIDE))
  content = io.BytesIO()
  image.save(content, "JPEG", quality=QUALITY)
  return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
