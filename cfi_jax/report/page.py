"""The pieces of an HTML page that needs no other file and no network."""

import base64
import dataclasses
import html
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from cfi_jax.report.assets import SCRIPT, STYLE

SIDE = 320  # pixels of the longer side of an embedded picture
QUALITY = 85


@dataclasses.dataclass(frozen=True, eq=False)
class Exhibit:
  """The pictures of one scene: (label, uint8 [H, W] or [H, W, 3]), the same labels in every one."""

  name: str
  pictures: tuple[tuple[str, np.ndarray], ...]


class Cell(NamedTuple):
  """A cell of a table: its text, the number that it is sorted by (NaN last), and a mark."""

  text: str
  value: float = math.nan
  best: bool = False


Row = tuple[str, Sequence[Cell]]  # a name and what stands beside it


def document(title: str, body: Iterable[str], notes: Sequence[str] = ()) -> str:
  """The page of a title, these parts and a section of notes, with its style and script."""
  items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
  end = f"<h2>Notes</h2><ul>{items}</ul>" if notes else ""
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,">'
    f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
    f"<body><h1>{html.escape(title)}</h1>{''.join(body)}{end}"
    f"<script>{SCRIPT}</script></body></html>\n"
  )


def table(
  identifier: str,
  header: Iterable[str],
  rows: Iterable[Row],
  directions: Mapping[str, str] = MappingProxyType({}),
  baselines: Collection[str] = (),
) -> str:
  """A table that a click on a heading sorts.

  directions: the better one by heading, "higher" or "lower", which comes first; default "lower".
  baselines: names of rows to set apart.
  """
  headings = (
    f'<th><button data-direction="{directions.get(label, "lower")}">{html.escape(label)}'
    "</button></th>"
    for label in header
  )
  marks = {name: ' class="baseline"' for name in baselines}
  lines = (
    f"<tr{marks.get(name, '')}><td>{html.escape(name)}</td>{''.join(map(_cell, cells))}</tr>"
    for name, cells in rows
  )
  return (
    f'<div class="wide"><table class="sortable" id="{html.escape(identifier)}">'
    f"<thead><tr>{''.join(headings)}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
  )


def _cell(cell: Cell) -> str:
  data = "" if math.isnan(cell.value) else f' data-value="{cell.value:.9g}"'
  mark = ' class="best"' if cell.best else ""
  return f"<td{data}{mark}>{html.escape(cell.text)}</td>"


def chart(label: str, svg: bytes) -> str:
  """A plot as an image: unlike elements of the page, plots cannot share identifiers then."""
  data = base64.b64encode(svg).decode()
  return (
    f'<figure class="chart"><img src="data:image/svg+xml;base64,{data}" '
    f'alt="{html.escape(label)}"><figcaption>{html.escape(label)}</figcaption></figure>'
  )


def pictures(exhibits: Sequence[Exhibit]) -> str:
  """The pictures of one scene at a time, and two of them with a slider; at most once in a page."""
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
