"""The pieces of an HTML page that needs no other file and no network."""

import base64
import dataclasses
import html
import io
import math
from collections.abc import Collection, Sequence

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


def document(title: str, body: Sequence[str]) -> str:
  """The page of these parts, with its style and script."""
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<link rel="icon" href="data:,">'
    f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n"
    f"<body>{''.join(body)}<script>{SCRIPT}</script></body></html>\n"
  )


def notes_list(notes: Sequence[str]) -> str:
  """The section of notes; empty without any."""
  items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
  return f"<h2>Notes</h2><ul>{items}</ul>" if notes else ""


def heading(label: str, direction: str = "lower") -> str:
  """A heading that sorts its column; the better direction comes first."""
  return f'<th><button data-direction="{direction}">{html.escape(label)}</button></th>'


def row(method: str, cells: Sequence[str], baselines: Collection[str] = ()) -> str:
  """A row of a table: its name, set apart for `baselines`, and its cells."""
  style = ' class="baseline"' if method in baselines else ""
  return f"<tr{style}><td>{html.escape(method)}</td>{''.join(cells)}</tr>"


def value(text: str, number: float, best: bool = False) -> str:
  """A cell that shows `text` and is sorted by `number`; NaN comes last."""
  data = "" if math.isnan(number) else f' data-value="{number:.9g}"'
  return f"<td{data}{' class=' + chr(34) + 'best' + chr(34) if best else ''}>{text}</td>"


def table(identifier: str, headings: Sequence[str], rows: Sequence[str]) -> str:
  """A sortable table."""
  return (
    f'<div class="wide"><table class="sortable" id="{html.escape(identifier)}">'
    f"<thead><tr>{''.join(headings)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
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
