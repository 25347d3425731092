"""Scores of fused images beside those of trivial baselines, and a report on them."""

import dataclasses
import io
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import Alignment, Scene, align, read
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.metrics import Scores, Triplet, find_metrics, grey_levels, score
from cfi_jax.report.evaluation import write_page, write_summary
from cfi_jax.report.markdown import number
from cfi_jax.report.page import Exhibit, spread
from cfi_jax.report.summary import Summary, summarise
from cfi_jax.systems import baselines
from cfi_jax.systems.baselines import BASELINES, NOISE, NOISE_LEVELS
from cfi_jax.systems.files import label, load_fuser

EXHIBITS = 8  # scenes shown in the report
JPEG_QUALITY = 95  # of OpenCV's imwrite, which wrote the paper's images
RAISED_BY_NOISE = ("AG", "SF", "EN", "EI", "SD")

# Metrics by convention. The paper's TNO row has AG by the cddfuse denominator and PSNR by tang's
# definition.
PROTOCOLS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
  "paper_tno": (("cddfuse", ("AG",)), ("tang", ("PSNR", "EN", "SD", "SF", "CC", "SCD", "Qabf"))),
}


@dataclasses.dataclass(frozen=True)
class Request:
  """The images to score, and the scores.

  visible, infrared: the sources' folders. fused: method -> folder of its images.
  weights: what `systems.files.load_fuser` takes; it fuses the sources and is scored as `label`
    says.
  convention, metrics: see `cfi_jax.metrics`; metrics None is all of the convention.
  compare_to: the method that paired differences refer to; None is the first one given.
  protocol: "" or a name in `PROTOCOLS`, which sets convention and metrics and passes the images of
    `weights` through JPEG, as the paper's were saved.
  naming: the rule of file names; prefixes and suffixes are of the sources.
  """

  visible: pathlib.Path
  infrared: pathlib.Path
  fused: Mapping[str, pathlib.Path]
  weights: str | os.PathLike | None = None
  convention: str = "tang"
  metrics: tuple[str, ...] | None = None
  compare_to: str | None = None
  protocol: str = ""
  naming: Naming = PLAIN

  @property
  def methods(self) -> tuple[str, ...]:
    """The methods to judge, without the baselines."""
    return (*self.fused, *((label(self.weights),) if self.weights else ()))


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The scores, their summary, and sentences about what was left out or must be known."""

  scores: Scores
  summary: Summary
  notes: tuple[str, ...]


def evaluate(request: Request, output: pathlib.Path, *, progress: bool = True) -> Evaluation:
  """Scores the images and writes scores.csv, summary.md and report.html into `output`.

  Raises:
    InputError: bad names, folders, files or weights; nothing is written then.
  """
  _check(request)
  require_folder(output)
  folders = {MODALITIES[0]: request.visible, MODALITIES[1]: request.infrared, **request.fused}
  alignment = align(folders, request.naming)
  model = load_fuser(request.weights) if request.weights else None
  sizes = [scene.size for scene in alignment.scenes]
  baselines.reserve(sizes)
  if model is not None:
    model.reserve(sizes)
  scores = _score(request, alignment, model, progress)
  summary = summarise(scores, request.compare_to or request.methods[0])
  notes = (*_notes(request, summary), *alignment.notes)
  exhibits = _exhibits(request, alignment, model)
  title = f"Fusion scores: {', '.join(request.methods)} on {summary.images} images"
  texts = {
    "scores.csv": scores.to_csv(),
    "summary.md": write_summary(summary, notes, title),
    "report.html": write_page(summary, exhibits, notes, title, tuple(BASELINES)),
  }
  for name, text in texts.items():
    write_atomically(output / name, text.encode(errors="replace"))  # file names may be any bytes
  return Evaluation(scores, summary, notes)


def _check(request: Request) -> None:
  if request.protocol:
    if request.protocol not in PROTOCOLS:
      raise InputError(f"unknown protocol {request.protocol!r}; valid: {', '.join(PROTOCOLS)}")
    if request.weights is None:
      raise InputError(f"protocol {request.protocol} fuses with a model: it needs weights")
  else:
    find_metrics(request.metrics, request.convention)
  if not request.methods:
    raise InputError("nothing to score: name fused images (NAME:DIR), weights, or both")
  taken = [*BASELINES, *MODALITIES]
  for method in request.methods:
    if method in taken:
      raise InputError(f"the method name {method!r} is taken; taken: {', '.join(taken)}")
    taken.append(method)
  known = (*request.methods, *BASELINES)
  if request.compare_to is not None and request.compare_to not in known:
    raise InputError(
      f"there is no method {request.compare_to!r} to compare to; methods: {', '.join(known)}"
    )


def _score(request: Request, alignment: Alignment, model: Fuser | None, progress: bool) -> Scores:
  parts = ((request.convention, request.metrics),)
  if request.protocol:
    parts = PROTOCOLS[request.protocol]
  total = len(alignment.scenes) * (len(request.methods) + len(BASELINES))
  rows = ()
  for convention, metrics in parts:
    triplets = _triplets(request, alignment.scenes, model, convention)
    rows += score(triplets, metrics, convention, total=total, progress=progress).rows
  order = {name: k for k, name in enumerate((*request.methods, *BASELINES))}
  return Scores(tuple(sorted(rows, key=lambda row: order[row.method])))


def _triplets(
  request: Request, scenes: Sequence[Scene], model: Fuser | None, convention: str
) -> Iterator[Triplet]:
  """Every method's triplet of every scene, read as they are asked for."""
  for scene in scenes:
    visible, infrared = (read(scene.paths[modality]) for modality in MODALITIES)
    for method in request.fused:
      yield Triplet(method, scene.name, visible, infrared, read(scene.paths[method]))
    if model is not None:
      fused = model.fuse(visible, infrared, gray=True)
      if request.protocol:
        fused = through_jpeg(fused)
      yield Triplet(label(request.weights), scene.name, visible, infrared, fused)
    grey = [grey_levels(image, convention) for image in (visible, infrared)]
    for method, rule in BASELINES.items():
      yield Triplet(method, scene.name, visible, infrared, rule(*grey, scene.name))


def through_jpeg(image: np.ndarray) -> np.ndarray:
  """A grey image [H, W, 1], saved as JPEG and read back."""
  file = io.BytesIO()
  Image.fromarray(image[..., 0]).save(file, "JPEG", quality=JPEG_QUALITY)
  return np.asarray(Image.open(file))[..., None]


def _exhibits(request: Request, alignment: Alignment, model: Fuser | None) -> list[Exhibit]:
  """Pictures of up to `EXHIBITS` scenes, spread over the sorted names."""
  exhibits = []
  for scene in (alignment.scenes[k] for k in spread(len(alignment.scenes), EXHIBITS)):
    visible, infrared = (read(scene.paths[modality]) for modality in MODALITIES)
    pictures = [("visible", visible), ("infrared", infrared)]
    pictures += [(method, read(scene.paths[method])) for method in request.fused]
    if model is not None:
      fused, details = model.fuse(visible, infrared, return_details=True)
      method = label(request.weights)
      pictures.append((method, fused))
      if details.gates:
        pictures.append((f"{method}: gate", _gate(details.gates, scene.size)))
    grey = [grey_levels(image, "strict") for image in (visible, infrared)]
    pictures += [
      (method, rule(*grey, scene.name))
      for method, rule in BASELINES.items()
      if method not in MODALITIES
    ]
    flat = tuple((label, p[..., 0] if p.shape[-1:] == (1,) else p) for label, p in pictures)
    exhibits.append(Exhibit(scene.name, flat))
  return exhibits


def _gate(gates: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
  """uint8 [H, W]: the mean of the model's gates [1, h, w, 1], each enlarged to full size."""
  full = [
    np.asarray(
      Image.fromarray(np.asarray(gate, np.float32)[0, ..., 0]).resize(
        size[::-1], Image.Resampling.BILINEAR
      )
    )
    for gate in gates
  ]
  return np.clip(np.round(255 * np.mean(full, axis=0)), 0, 255).astype(np.uint8)


def _notes(request: Request, summary: Summary) -> list[str]:
  notes = [_noise_note(summary)]
  if request.protocol:
    notes.append(
      f"Protocol {request.protocol}: {label(request.weights)} was passed through JPEG "
      f"(quality {JPEG_QUALITY}), as the paper's images were saved."
    )
  for metric in summary.metrics:
    short = [
      f"{method} ({entry.count})"
      for method in summary.methods
      if (entry := summary.entries[metric, method]).count < summary.images
    ]
    if short:
      notes.append(
        f"{metric} is not defined on every one of the {summary.images} images (too small, "
        f"constant, or equal to a source), which its means leave out; images left: "
        f"{', '.join(short)}."
      )
  return notes


def _noise_note(summary: Summary) -> str:
  """A sentence on the metrics that reward noise, from the noise control."""
  changes = []
  for metric in RAISED_BY_NOISE:
    if metric in summary.metrics:
      plain, noisy = (summary.entries[metric, m].estimate.mean for m in ("average", NOISE))
      changes.append(f"{metric} {number(plain)} → {number(noisy)}")
  if not changes:
    return (
      f"Noise control ({NOISE}, standard deviation {NOISE_LEVELS:g} levels): none of the metrics "
      f"that noise raises ({', '.join(RAISED_BY_NOISE)}) was asked for."
    )
  return (
    f"Noise control: Gaussian noise of {NOISE_LEVELS:g} levels on the plain average, which "
    f"improves no image, changes {', '.join(changes)}. A higher value of these alone is no merit."
  )
