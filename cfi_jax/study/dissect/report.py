"""Sentences, tables and the page of a dissection."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from cfi_jax.report import markdown, page
from cfi_jax.report.markdown import number, plain
from cfi_jax.study.dissect import results
from cfi_jax.study.dissect.dissection import APART, Dissection
from cfi_jax.study.dissect.results import Findings, minus
from cfi_jax.study.dissect.sentences import encoding, estimate, findings, levels, said
from cfi_jax.systems.perception.model import MODALITIES

TITLE = "Dissection of networks of one image and of both"
INTERVALS = (
  "Brackets: 95 % intervals from a bootstrap that draws seeds and, for all of them, images, with "
  "replacement; the seeds' part is widened as Student's t asks for so few; one seed alone has no "
  "such part. Differences are paired over both. **Bold** differences leave out 0. Intervals are "
  "not corrected for their number: where nothing differs, one in twenty still leaves out 0."
)
MEANINGS = (
  "right class, found: share of the pixels of objects that get their class, and that get the class "
  "of any object, by which image shows the object (the scene's truth); right class lost: that of "
  "both images minus that without one.",
  "contribution: Shapley value of an image for the probability of the right class; an image that "
  "is left out is grey everywhere, the mean of all of its kind.",
  "apart: the encoders of the two networks of one image each, compared as if they were one's.",
  "cka: unbiased linear CKA of both encoders' features of a level, 1 is the finest; floor: with "
  "those of another image at the same place; ceiling: of an encoder with that of other seeds; "
  "consistency: cka over the root of both ceilings.",
  "specificity: share of an encoder's variance that the other does not predict linearly on "
  "images held out.",
  "semantic variance above null: between-class share of a channel's variance, the mean over "
  "channels, less that with the labels of other images.",
  "cka with the twin: of an encoder in a network of both images with the encoder of the network of "
  "its image alone, of the same seed, which begins with the same parameters; of another seed: "
  "what training and not the beginning makes alike, to be compared with the ceiling of the "
  "networks of one image.",
)


def truth_by_class(own: Dissection) -> dict[str, tuple[float, float]]:
  """Shares of a class's pixels that the visible, and the infrared image alone shows."""
  look = own.look(own.study.order[0], own.study.seeds[0], own.last)
  pixels = look.pixels.sum(0)
  names = own.study.train.classes.names
  return {
    name: tuple(float(pixels[k, c] / max(1, pixels[k].sum())) for c in (0, 1))
    for k, name in enumerate(names)
    if k
  }


def tables(own: Dissection, found: Findings) -> dict[str, tuple[list[str], list[list[str]]]]:
  """Headers and rows of every table, by title."""
  study, place = own.study, list(results.places(own))
  made: dict[str, tuple[list[str], list[list[str]]]] = {}

  def add(title: str, models: Sequence[str], columns: Mapping[str, tuple[str, str]]) -> None:
    rows = []
    for model in models:
      cells = []
      for quantity, condition in columns.values():
        value = estimate(found, model, quantity, condition)
        mark = "**" if ", minus " in quantity and value.excludes_zero else ""
        cells.append("-" if np.isnan(value.mean) else f"{mark}{said(value)}{mark}")
      rows.append([model, *cells])
    kept = [k for k in range(1 + len(columns)) if any(row[k] != "-" for row in rows)]
    if rows and len(kept) > 1:
      header = ["", *columns]
      made[title] = [header[k] for k in kept], [[row[k] for k in kept] for row in rows]

  add(
    "Scores",
    study.order,
    {"mIoU": (results.MIOU, "both")}
    | {f"mIoU of {m} alone": (results.MIOU, m) for m in MODALITIES}
    | {f"{q}, {p}": (q, p) for q in results.KINDS for p in place},
  )
  for other in MODALITIES:
    add(
      f"Minus the network of the {other} image",
      study.joint,
      {"mIoU": (minus(results.MIOU, other), "both")}
      | {f"{q}, {p}": (minus(q, other), p) for q in results.KINDS for p in place},
    )
  for m in MODALITIES:
    add(
      f"Right class lost without the {m} image",
      study.order,
      {p: (results.LOST, f"without {m}, {p}") for p in place},
    )
  for m in MODALITIES:
    add(
      f"Contribution of the {m} image to the right class",
      study.order,
      {p: (results.SHARE, f"{m}, {p}") for p in (*place, *results.classes(own))},
    )
  rows = encoding(found)
  depth = max((len(levels(found, row)) for row in rows), default=0)
  pairs = [f"level {k}" for k in range(1, depth + 1)]
  spaces = [f"{m} {k}" for m in MODALITIES for k in range(1, depth + 1)]
  for quantity, columns in (
    (results.CKA, pairs), (results.FLOOR, pairs), (results.CEILING, spaces),
    (results.CONSISTENT, pairs), (minus(results.CKA, APART), pairs),
    (results.SPECIFIC, spaces), (minus(results.SPECIFIC, APART), spaces),
    (results.TWIN, spaces), (results.OTHER_TWIN, spaces),
    (minus(results.OTHER_TWIN, results.CEILING), spaces),
  ):  # fmt: skip
    add(quantity[0].upper() + quantity[1:], rows, {c: (quantity, c) for c in columns})
  every = dict.fromkeys(c for _, q, c, x in found if q == results.SEMANTIC and x is None)
  add("Semantic variance above null", study.order, {c: (results.SEMANTIC, c) for c in every})
  return made


def _setting(own: Dissection, seeds: Sequence[int]) -> str:
  study, train = own.study, own.study.train
  return (
    f"Networks of perception, equal but for where they fuse, each trained for {train.steps} steps "
    f"of {train.batch_size} samples on {train.data['name']} from "
    f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, looked at on "
    f"{len(own.scenes.samples.labels)} images held out. Rows that fuse at every level "
    f"({', '.join(study.strategies)}) have equally many parameters; others have not."
  )


def _truth(own: Dissection) -> str:
  rows = [
    [plain(name), number(visible), number(infrared)]
    for name, (visible, infrared) in truth_by_class(own).items()
  ]
  header = ["share of the class's pixels", "visible alone shows", "infrared alone shows"]
  return markdown.table(header, rows)


def write_summary(own: Dissection, found: Findings, seeds: Sequence[int]) -> str:
  """The text of summary.md; seeds: those that every row has."""
  parts = [f"{_setting(own, seeds)}\n\n{INTERVALS}"]
  for title, lines in findings(own, found).items():
    if lines:
      parts.append(f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines))
  for title, (header, rows) in tables(own, found).items():
    parts.append(f"## {title}\n\n" + markdown.table([plain(h) for h in header], rows))
  if own.scenes.has_carriers:
    parts.append("## Truth of the classes\n\n" + _truth(own))
  return markdown.document(TITLE, parts, MEANINGS)


def write_page(
  own: Dissection, found: Findings, seeds: Sequence[int], plots: Mapping[str, bytes]
) -> str:
  """The text of report.html: sentences, plots, tables; plots: files by name, SVG are embedded."""
  body = [f"<p>{html.escape(_setting(own, seeds))}</p><p>{html.escape(INTERVALS)}</p>"]
  for title, lines in findings(own, found).items():
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    body += [f"<h2>{html.escape(title)}</h2><ul>{items}</ul>"] if lines else []
  body += [
    page.chart(name.removesuffix(".svg").replace("_", " "), content)
    for name, content in plots.items()
    if name.endswith(".svg")
  ]
  for index, (title, (header, rows)) in enumerate(tables(own, found).items()):
    cells = [(row[0], [_cell(text) for text in row[1:]]) for row in rows]
    directions = dict.fromkeys(header, "higher")
    body += [f"<h2>{html.escape(title)}</h2>", page.table(f"t{index}", header, cells, directions)]
  return page.document(TITLE, body, MEANINGS)


def _cell(text: str) -> page.Cell:
  shown = text.strip("*")
  value = float("nan") if text == "-" else float(shown.split(" ")[0])
  return page.Cell(shown, value, text.startswith("**"))
