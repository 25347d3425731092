"""summary.md and report.html of an analysis."""

import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cfi_jax.analyze import tables
from cfi_jax.analyze.inputs import Inputs
from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.parts import PICTURED
from cfi_jax.data.listing import evenly
from cfi_jax.fusion import arrays
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.report import markdown, page
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import plain

EXHIBITS = 3  # pairs shown

_INTERVALS = (
  "In brackets 95 % bootstrap intervals over images: they say how much the number would change "
  "with other images of this kind, not with another training of the model. Samples: the images "
  "that define the number (for a null the permutations, for a share of channels the channels)."
)


@dataclasses.dataclass(frozen=True)
class Analysis:
  """An analysis as it is reported.

  source: of the pairs. parts, models: their names. findings: all numbers. notes: sentences about
  what was left out or must be known.
  """

  title: str
  source: str
  parts: tuple[str, ...]
  models: tuple[str, ...]
  findings: tuple[Finding, ...]
  notes: tuple[str, ...]


def write_summary(analysis: Analysis) -> str:
  """The text of summary.md."""
  found = tables.arrange(analysis.findings, analysis.models)
  parts = [
    f"{plain(analysis.source)}. {_INTERVALS}",
    *map(tables.to_markdown, found),
    f"Curves ({', '.join(tables.CURVES)}) are in plots/ and findings.csv.",
  ]
  return markdown.document(analysis.title, parts, analysis.notes)


def write_page(
  analysis: Analysis, plots: Mapping[str, Mapping[str, bytes]], exhibits: Sequence[page.Exhibit]
) -> str:
  """The text of report.html: tables and plots of each part, pictures with a slider, notes.

  plots: the files of each part by name; the SVG ones are embedded.
  """
  found = tables.arrange(analysis.findings, analysis.models)
  body = [f"<p>{html.escape(f'{analysis.source}. {_INTERVALS}')} Click a heading to sort.</p>"]
  for part in analysis.parts:
    body.append(f"<h2>{html.escape(part.capitalize())}</h2>")
    body += [tables.to_html(table) for table in found if table.section.part == part]
    for name, content in plots.get(part, {}).items():
      if name.endswith(".svg"):
        body.append(page.chart(name.removesuffix(".svg").replace("_", " "), content))
  body.append(
    "<h2>Pictures</h2><p>Changes: black is none, white is from 0 to 1. Gates: black is 0, white "
    "is 1. Contributions, in the centre window: middle grey is none, white +1, black -1.</p>"
  )
  body.append(page.pictures(exhibits))
  return page.document(analysis.title, body, analysis.notes)


def make_exhibits(
  models: Sequence[Subject], inputs: Inputs, parts: Iterable[str], seed: int
) -> list[page.Exhibit]:
  """Pictures of up to `EXHIBITS` pairs, spread over all; those that every one of them has."""
  found = []
  for index in evenly(len(inputs.samples), EXHIBITS):
    sample = inputs.samples[index]
    pictures = {m: _grey(getattr(sample.pair, m)[..., 0]) for m in MODALITIES}
    for subject in models:
      pictures[f"{subject.name}: fused"] = _grey(subject.fuse(sample.batch)[0, ..., 0])
      for part in parts if subject.card else ():
        pictures |= _pictures(subject, sample, part, seed)
    found.append((sample.name, pictures))
  common = [label for label in found[0][1] if all(label in pictures for _, pictures in found)]
  return [
    page.Exhibit(name, tuple((label, pictures[label]) for label in common))
    for name, pictures in found
  ]


def _pictures(subject: Subject, sample: Sample, part: str, seed: int) -> dict[str, np.ndarray]:
  """The pictures of a part, uint8 [H, W], by "MODEL: PICTURE"."""
  drawn = PICTURED[part].pictures(subject, sample, seed) if part in PICTURED else {}
  return {f"{subject.name}: {k}": _in_place(v, sample.size) for k, v in drawn.items()}


def _in_place(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The picture of a centre window where it lies in the image, black around it."""
  canvas = np.zeros(size, np.uint8)
  top, left = ((n - m) // 2 for n, m in zip(size, picture.shape, strict=True))
  canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
  return canvas


def _grey(image: np.ndarray) -> np.ndarray:
  return arrays.quantize(np.asarray(image), np.uint8)
