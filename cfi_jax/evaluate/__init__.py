"""Scores of fused images beside those of trivial baselines, and a report on them."""

import dataclasses
import io
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.data.alignment import Alignment, Scene, align, read
from cfi_jax.evaluate import degraded, notes
from cfi_jax.evaluate.exhibits import make_exhibits, places
from cfi_jax.evaluate.request import PROTOCOLS, Request, read_published_of, require
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.metrics import Columns, Scores, Triplet, grey_levels, score
from cfi_jax.report.evaluation import write_page, write_summary
from cfi_jax.report.published import Published
from cfi_jax.report.summary import Summary, summarise
from cfi_jax.systems import baselines, restoring
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import label, load_fuser
from cfi_jax.weights import shipped

__all__ = ["PROTOCOLS", "Evaluation", "Request", "evaluate", "through_jpeg"]

JPEG_QUALITY = 95  # of OpenCV's imwrite, which wrote the paper's images


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The scores, their summary, and sentences about what was left out or must be known.

  restoration: the summary of restored visible images, where clean ones are given.
  """

  scores: Scores | Columns
  summary: Summary
  notes: tuple[str, ...]
  restoration: Summary | None = None


@dataclasses.dataclass(frozen=True)
class Models:
  """Fusers: that of the request's weights, and those beside it where pairs are degraded."""

  own: Fuser | None
  beside: degraded.Beside | None

  def reserve(self, scenes: Sequence[Scene]) -> None:
    """Plans programs for the images to come."""
    sizes = [scene.size for scene in scenes]
    for reserve in (
      baselines.reserve,
      *([self.own.reserve] if self.own is not None else []),
      *([self.beside.usual.reserve] if self.beside is not None else []),
    ):
      reserve(sizes)


def evaluate(request: Request, output: pathlib.Path, *, progress: bool = True) -> Evaluation:
  """Scores the images and writes scores.csv, summary.md and report.html into `output`.

  With clean images also scores_given.csv and summary_given.md, which refer to the degraded pair,
  and restoration.csv and restoration.md.

  Raises:
    InputError: bad names, folders, files or weights; nothing is written then.
  """
  published = check(request, output)
  alignment = align(request.folders, request.naming)
  models = load(request)
  models.reserve(alignment.scenes)
  scores, of_given = degraded.split(score_scenes(request, alignment.scenes, models, progress))
  shown = [alignment.scenes[k] for k in places(len(alignment.scenes))]
  summary, told, texts = report(request, published, scores, shown, alignment.notes, models)
  restoration = None
  if request.clean:
    given = summarise(of_given, request.compare_to or request.methods[0])
    restored = _restoration(request, alignment, models, progress)
    restoration = summarise(restored, degraded.NOTHING)
    titles = (
      f"{_title(request, summary)}, against the degraded pairs",
      "Restored visible images, against clean ones",
    )
    texts |= {
      "scores_given.csv": of_given.to_csv(),
      "summary_given.md": write_summary(given, told, titles[0]),
      "restoration.csv": restored.to_csv(),
      "restoration.md": write_summary(restoration, alignment.notes, titles[1]),
    }
  write(output, texts)
  return Evaluation(scores, summary, told, restoration)


def check(request: Request, output: pathlib.Path) -> Published | None:
  """Refuses what cannot be scored or written; returns the published means of the request."""
  require(request)
  published = read_published_of(request)
  require_folder(output)
  return published


def report(
  request: Request,
  published: Published | None,
  scores: Scores | Columns,
  shown: Iterable[Scene],
  left_out: Sequence[str],
  models: Models,
) -> tuple[Summary, tuple[str, ...], dict[str, str]]:
  """The summary of scores, the notes on it, and the texts of the files by name.

  shown: scenes of which the page has pictures. left_out: notes on the images.
  """
  beside = published.rows if published else {}
  summary = summarise(scores, request.compare_to or request.methods[0], beside)
  told = (*_notes(request, summary, published), *left_out)
  exhibits = make_exhibits(request.fused, request.weights, shown, models.own)
  title = _title(request, summary)
  return summary, told, {
    "scores.csv": scores.to_csv(),
    "summary.md": write_summary(summary, told, title),
    "report.html": write_page(summary, exhibits, told, title, tuple(BASELINES)),
  }  # fmt: skip


def write(output: pathlib.Path, texts: Mapping[str, str]) -> None:
  """Writes files by name."""
  for name, text in texts.items():
    write_atomically(output / name, text.encode(errors="replace"))  # file names may be any bytes


def _title(request: Request, summary: Summary) -> str:
  return f"Fusion scores: {', '.join(request.methods)} on {summary.images} images"


def load(request: Request) -> Models:
  """Loads the models."""
  own = load_fuser(request.weights) if request.weights else None
  beside = degraded.load(request.weights, request.restoration) if request.clean else None
  return Models(own, beside)


def _restoration(request: Request, alignment: Alignment, models: Models, progress: bool) -> Scores:
  """Scores of all models that restore."""
  restorers = {}
  if models.own is not None and restoring.restores(models.own):
    restorers[label(request.weights)] = models.own
  if models.beside is not None and models.beside.restorer is not None:
    restorers[models.beside.label] = models.beside.restorer
  return degraded.score_restoration(alignment.scenes, restorers, progress=progress)


def names_of_methods(request: Request) -> tuple[str, ...]:
  """All methods of the table, in order."""
  methods = (*request.methods, *request.beside, *BASELINES)
  given = tuple(degraded.GIVEN + method for method in methods) if request.clean else ()
  return methods + given


def score_scenes(
  request: Request, scenes: Sequence[Scene], models: Models, progress: bool
) -> Scores:
  """The scores of all methods on scenes, method by method."""
  methods = names_of_methods(request)
  rows = ()
  for convention, metrics in request.parts:
    triplets = _triplets(request, scenes, models, convention)
    total = len(scenes) * len(methods)
    rows += score(triplets, metrics, convention, total=total, progress=progress).rows
  order = {name: k for k, name in enumerate(methods)}
  return Scores(tuple(sorted(rows, key=lambda row: order[row.method])))


def _triplets(
  request: Request, scenes: Sequence[Scene], models: Models, convention: str
) -> Iterator[Triplet]:
  """Every method's triplets of every scene, read as they are asked for."""
  for scene in scenes:
    given = Pair(*(read(scene.paths[modality]) for modality in MODALITIES))
    clean = degraded.clean_pair(scene) if request.clean else given
    for method, fused in _fused(request, scene, given, clean, models, convention):
      yield Triplet(method, scene.name, clean.visible, clean.infrared, fused)
      if request.clean:
        of_given = degraded.GIVEN + method
        yield Triplet(of_given, scene.name, given.visible, given.infrared, fused)


def _fused(
  request: Request, scene: Scene, given: Pair, clean: Pair, models: Models, convention: str
) -> Iterator[tuple[str, np.ndarray]]:
  """Every method's fused image of a scene, under its name."""
  for method in request.fused:
    yield method, read(scene.paths[method])
  if models.own is not None:
    fused = models.own.fuse(given.visible, given.infrared, gray=True)
    yield label(request.weights), through_jpeg(fused) if request.protocol else fused
  if models.beside is not None:
    yield from models.beside.fuse(given, clean)
  grey = [grey_levels(image, convention) for image in (given.visible, given.infrared)]
  for method, rule in BASELINES.items():
    yield method, rule(*grey, scene.name)


def through_jpeg(image: np.ndarray) -> np.ndarray:
  """A grey image [H, W, 1], saved as JPEG and read back."""
  file = io.BytesIO()
  Image.fromarray(image[..., 0]).save(file, "JPEG", quality=JPEG_QUALITY)
  return np.asarray(Image.open(file))[..., None]


def _notes(request: Request, summary: Summary, published: Published | None) -> Iterator[str]:
  yield notes.of_noise(summary)
  if published:
    yield from notes.of_published(published, summary.images)
  if request.weights in shipped.CHOSEN:
    yield f"{request.weights}: {shipped.CHOSEN[request.weights]}."
  if request.protocol:
    yield (
      f"Protocol {request.protocol}: {label(request.weights)} was passed through JPEG "
      f"(quality {JPEG_QUALITY}), as the paper's images were saved."
    )
  yield from notes.of_images(summary)
