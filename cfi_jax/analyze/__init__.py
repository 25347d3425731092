"""Analyses of fusion models: what they do with their images, measured and reported."""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from cfi_jax.analyze import inputs as inputs_lib
from cfi_jax.analyze import reports
from cfi_jax.analyze.inputs import Inputs
from cfi_jax.analyze.measures import effects, features, treatments
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.parts import AVERAGE, PARTS, WHOLE, load_models, peers
from cfi_jax.analyze.reports import Analysis
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.datasets.synthetic import Synthetic
from cfi_jax.engine import memory
from cfi_jax.report import figures
from cfi_jax.report.findings import to_csv

FEW = 10  # pairs; percentiles of ten have 0.8 of the width of Student's t, of five 0.6


@dataclasses.dataclass(frozen=True)
class Request:
  """The models, the pairs and the parts of an analysis.

  weights: file or name of the model in question; compare: of others, reported beside it. Models
    are called by their file names.
  visible, infrared: folders of images; labels: of label images, or None.
  world: an embedded world instead of folders, whose test scenes are analysed with their truth.
  pairs: their number at most, 0 is all. parts: names in `PARTS`.
  seed: of everything that is drawn; the scenes of a world have their own.
  """

  weights: pathlib.Path
  compare: tuple[pathlib.Path, ...] = ()
  visible: pathlib.Path | None = None
  infrared: pathlib.Path | None = None
  labels: pathlib.Path | None = None
  world: Synthetic | None = None
  pairs: int = 16
  parts: tuple[str, ...] = tuple(PARTS)
  seed: int = 0


def analyze(request: Request, output: pathlib.Path) -> Analysis:
  """Analyses, and writes findings.csv, summary.md, report.html and plots/ into `output`.

  Raises:
    InputError: bad names, folders, files or weights, or no matplotlib; nothing is written then.
  """
  _check(request)
  require_folder(output)
  figures.require_matplotlib()
  from cfi_jax.analyze import plots  # imports matplotlib

  models = load_models((request.weights, *request.compare))
  inputs = _inputs(request)
  if "features" in request.parts and len(inputs.samples) < features.LEAST_IMAGES:
    raise InputError(
      f"features need {features.LEAST_IMAGES} pairs or more, there are {len(inputs.samples)}; "
      "name the other parts to leave features out"
    )
  for subject in models:
    subject.reserve(inputs.sizes)
  _check_memory(request, models, inputs.sizes)
  findings = [f for part in request.parts for f in PARTS[part](models, inputs, request.seed)]
  analysis = Analysis(
    f"Analysis of {', '.join(subject.name for subject in models if subject.card)}",
    inputs.source,
    request.parts,
    tuple(subject.name for subject in models),
    tuple(findings),
    (*inputs.notes, *_notes(request, models, inputs)),
  )
  drawn = plots.draw(analysis.findings, analysis.models)
  exhibits = reports.make_exhibits(models, inputs, request.parts, request.seed)
  _write_plots(drawn, output / "plots")
  texts = {
    "findings.csv": to_csv(analysis.findings),
    "summary.md": reports.write_summary(analysis),
    "report.html": reports.write_page(analysis, drawn, exhibits),
  }
  for name, text in texts.items():
    write_atomically(output / name, text.encode(errors="replace"))  # file names may be any bytes
  return analysis


def _check(request: Request) -> None:
  unknown = [part for part in request.parts if part not in PARTS]
  if unknown or not request.parts:
    given = ", ".join(map(repr, unknown)) or "none"
    raise InputError(f"parts: {given} given; valid: {', '.join(PARTS)}")
  if len(set(request.parts)) < len(request.parts):
    raise InputError(f"parts: {', '.join(request.parts)}: each may be named once")
  if request.pairs < 0:
    raise InputError(f"pairs is {request.pairs}; allowed: 1 or more, or 0 for all")
  if not 0 <= request.seed < 2**31:
    raise InputError(f"seed is {request.seed}; allowed: 0 to {2**31 - 1}")
  folders = (request.visible, request.infrared, request.labels)
  if request.world and any(folders):
    raise InputError("the embedded world and folders are both given; allowed: one of them")
  if not request.world and not (request.visible and request.infrared):
    raise InputError("nothing to analyse: give a visible and an infrared folder, or a world")


def _check_memory(
  request: Request, models: Sequence[Subject], sizes: Sequence[tuple[int, int]]
) -> None:
  """Refuses images whose gates or features do not fit into memory as a whole."""
  parts, limit = [part for part in request.parts if part in WHOLE], memory.available()
  if not parts or limit is None:
    return
  height, width = max(sizes, key=math.prod)
  for subject in models:
    needed = subject.details_mb((height, width)) / 1e3
    if needed > limit / memory.GB:
      raise InputError(
        f"{' and '.join(parts)} of {subject.name} need {needed:.1f} GB for the largest pair, "
        f"{height}x{width}, and {limit / memory.GB:.1f} GB are available; make the images smaller, "
        "or leave these parts out: --parts=effects,contribution"
      )


def _write_plots(drawn: Mapping[str, Mapping[str, bytes]], folder: pathlib.Path) -> None:
  """Writes the plots, and removes those of an earlier analysis that there are none for now."""
  from cfi_jax.analyze import plots

  files = {name: content for part in drawn.values() for name, content in part.items()}
  for name in (*plots.FIGURES, plots.MATRICES):
    for extension in figures.FORMATS:
      if f"{name}.{extension}" not in files:
        (folder / f"{name}.{extension}").unlink(missing_ok=True)
  for name, content in files.items():
    write_atomically(folder / name, content)


def _inputs(request: Request) -> Inputs:
  if request.world:
    return inputs_lib.from_world(request.world, request.pairs)
  return inputs_lib.from_folders(request.visible, request.infrared, request.labels, request.pairs)


def _notes(request: Request, models: Sequence[Subject], inputs: Inputs) -> Iterator[str]:
  """Sentences on what was left out, and on what must be known to read the numbers."""
  yield (
    f"{AVERAGE} is the mean of both images, a trivial model for comparison; it has no gates and no "
    "features."
  )
  if len(inputs.samples) < FEW:
    yield (
      f"{len(inputs.samples)} pairs are few: intervals of fewer than {FEW} are too narrow, and one "
      "pair has none."
    )
  sizes = {treatments.MASKS.size[1]} if {"gates", "effects"} & {*request.parts} else set()
  if "effects" in request.parts:
    sizes |= {*effects.SIZES}
  for size in sorted(sizes):
    short = sum(min(shape) < size for shape in inputs.sizes)
    if short:
      yield (
        f"Holes of {size} pixels do not fit into {short} of the {len(inputs.sizes)} pairs, which "
        "the numbers for such holes leave out."
      )
  if "features" in request.parts:
    yield from _feature_notes(request, models, inputs)


def _feature_notes(request: Request, models: Sequence[Subject], inputs: Inputs) -> Iterator[str]:
  for subject in models:
    name, others = subject.name, peers(subject, models)
    if subject.card and not others:
      yield (
        f"{name}: no ceiling of CKA and no consistency; they need second weights of the "
        "same architecture, trained in the same way from another seed."
      )
    for peer in others:
      recipes = [f"{s.name} says {s.card.recipe!r}" for s in (subject, peer)]
      yield (
        f"{name}: {peer.name} is of the same architecture and serves as ceiling of CKA. It is one "
        "only if both were trained in the same way from different seeds; of the training "
        f"{' and '.join(recipes)}."
      )
  if not request.world and inputs.labels is None:
    yield "No semantic variance: there are no label images."
