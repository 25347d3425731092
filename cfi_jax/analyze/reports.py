"""summary.md and report.html of an analysis."""

import base64
import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cfi_jax.analyze import tables
from cfi_jax.analyze.inputs import Inputs
from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.parts import PICTURED, Models
from cfi_jax.fusion import arrays
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.report import page
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import plain

EXHIBITS = 3  # pairs shown

_INTERVALS = (
  "In brackets 95 % bootstrap intervals over images: they say how much the number would change "
  "with other images of this kind, not with another training of the model. Samples: the images "
  "that define the number (for a null the permutations, for a share of channels the channels)."
)


@dataclasses.dataclass(frozen=True)
class Report:
  """What is reported: title, source of the pairs, parts, models, findings and notes."""

  title: str
  source: str
  parts: tuple[str, ...]
  models: tuple[str, ...]
  findings: Sequence[Finding]
  notes: tuple[str, ...]

  @property
  def tables(self) -> list[tables.Table]:
    """The findings that are no curves."""
    return tables.arrange(self.findings, self.models)


def write_summary(report: Report) -> str:
  """The text of summary.md."""
  parts = [f"# {plain(report.title)}", f"{plain(report.source)}. {_INTERVALS}"]
  parts += [tables.to_markdown(table) for table in report.tables]
  parts.append(f"Curves ({', '.join(tables.CURVES)}) are in plots/ and findings.csv.")
  parts.append("## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in report.notes))
  return "\n\n".join(parts) + "\n"


def write_page(
  report: Report, plots: Mapping[str, Mapping[str, bytes]], exhibits: Sequence[page.Exhibit]
) -> str:
  """The text of report.html: tables and plots of each part, pictures with a slider, notes.

  plots: the files of each part by name; the SVG ones are embedded.
  """
  body = [
    f"<h1>{html.escape(report.title)}</h1>",
    f"<p>{html.escape(f'{report.source}. {_INTERVALS}')} Click a heading to sort.</p>",
  ]
  found = report.tables
  for part in report.parts:
    body.append(f"<h2>{html.escape(part.capitalize())}</h2>")
    body += [tables.to_html(table) for table in found if table.section.part == part]
    body += [_plot(name, content) for name, content in plots.get(part, {}).items()]
  if exhibits:
    body.append(
      "<h2>Pictures</h2><p>Changes: black is none, white is from 0 to 1. Gates: black is 0, white "
      "is 1. Contributions, in the centre window: middle grey is none, white +1, black -1.</p>"
    )
    body.append(page.pictures(exhibits))
  body.append(page.notes_list(report.notes))
  return page.document(report.title, body)


def _plot(name: str, content: bytes) -> str:
  """A plot as an image: unlike elements of the page, plots cannot share identifiers then."""
  if not name.endswith(".svg"):
    return ""
  label = html.escape(name.removesuffix(".svg").replace("_", " "))
  data = base64.b64encode(content).decode()
  return (
    f'<figure class="chart"><img src="data:image/svg+xml;base64,{data}" alt="{label}">'
    f"<figcaption>{label}</figcaption></figure>"
  )


def make_exhibits(
  models: Models, inputs: Inputs, parts: Iterable[str], seed: int
) -> list[page.Exhibit]:
  """Pictures of up to `EXHIBITS` pairs, spread over all; those that every one of them has."""
  count = min(EXHIBITS, len(inputs.samples))
  chosen = np.linspace(0, len(inputs.samples) - 1, count).round().astype(int)
  found = []
  for index in chosen:
    sample = inputs.samples[index]
    pictures = {m: _grey(getattr(sample.pair, m)[..., 0]) for m in MODALITIES}
    for subject in models.subjects:
      pictures[f"{subject.name}: fused"] = _grey(subject.fuse(sample.batch)[0, ..., 0])
      for part in parts if subject.name in models.cards else ():
        pictures |= _pictures(subject, sample, part, seed)
    found.append((sample.name, pictures))
  common = [label for label in found[0][1] if all(label in pictures for _, pictures in found)]
  return [
    page.Exhibit(name, tuple((label, pictures[label]) for label in common))
    for name, pictures in found
  ]


def _pictures(subject: Subject, sample: Sample, part: str, seed: int) -> dict[str, np.ndarray]:
  """The pictures of a part, uint8 [H, W], by "MODEL: WHAT"."""
  module = PICTURED.get(part)
  drawn = module.pictures(subject, sample, module.Options(seed=seed)) if module else {}
  return {f"{subject.name}: {k}": _in_place(v, sample.size) for k, v in drawn.items()}


def _in_place(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The picture of a centre window where it lies in the image, black around it."""
  canvas = np.zeros(size, np.uint8)
  top, left = ((n - m) // 2 for n, m in zip(size, picture.shape, strict=True))
  canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
  return canvas


def _grey(image: np.ndarray) -> np.ndarray:
  return arrays.quantize(np.asarray(image), np.uint8)
