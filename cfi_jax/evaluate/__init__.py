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
from cfi_jax.evaluate import degraded, notes
from cfi_jax.evaluate.exhibits import make_exhibits
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.metrics import Scores, Triplet, find_metrics, grey_levels, score
from cfi_jax.report.evaluation import write_page, write_summary
from cfi_jax.report.published import Published, read_published
from cfi_jax.report.summary import Summary, summarise
from cfi_jax.systems import baselines, restoring
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import label, load_fuser
from cfi_jax.weights import shipped

JPEG_QUALITY = 95  # of OpenCV's imwrite, which wrote the paper's images

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
  clean: folders of the clean images by modality, where the sources are degraded; scores then refer
    to the clean pair, and once more to the given one. {} where they are not.
  restoration: weights that restore visible images before the default weights fuse; with `clean`.
  published: file of published means, see `report.published.read_published`, which are ranked among
    the methods.
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
  clean: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  restoration: str | os.PathLike | None = None
  published: str | None = None

  @property
  def methods(self) -> tuple[str, ...]:
    """The methods to judge, without the baselines."""
    return (*self.fused, *((label(self.weights),) if self.weights else ()))

  @property
  def beside(self) -> tuple[str, ...]:
    """Names of the fusions beside the methods where the sources are degraded."""
    return degraded.methods(self.weights, self.restoration) if self.clean else ()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The scores, their summary, and sentences about what was left out or must be known.

  restoration: the summary of restored visible images, where clean ones are given.
  """

  scores: Scores
  summary: Summary
  notes: tuple[str, ...]
  restoration: Summary | None = None


@dataclasses.dataclass(frozen=True)
class _Models:
  """Fusers: that of the request's weights, and those beside it where pairs are degraded."""

  own: Fuser | None
  beside: degraded.Beside | None


def evaluate(request: Request, output: pathlib.Path, *, progress: bool = True) -> Evaluation:
  """Scores the images and writes scores.csv, summary.md and report.html into `output`.

  With clean images also scores_given.csv and summary_given.md, which refer to the degraded pair,
  and restoration.csv and restoration.md.

  Raises:
    InputError: bad names, folders, files or weights; nothing is written then.
  """
  _check(request)
  published = _read_published(request)
  require_folder(output)
  folders = {MODALITIES[0]: request.visible, MODALITIES[1]: request.infrared, **request.fused}
  folders |= {degraded.CLEAN[modality]: path for modality, path in request.clean.items()}
  alignment = align(folders, request.naming)
  models = _load(request, alignment)
  scores, of_given = degraded.split(_score(request, alignment, models, progress))
  beside = published.rows if published else {}
  summary = summarise(scores, request.compare_to or request.methods[0], beside)
  told = (*_notes(request, summary, published), *alignment.notes)
  exhibits = make_exhibits(request.fused, request.weights, alignment, models.own)
  title = f"Fusion scores: {', '.join(request.methods)} on {summary.images} images"
  texts = {
    "scores.csv": scores.to_csv(),
    "summary.md": write_summary(summary, told, title),
    "report.html": write_page(summary, exhibits, told, title, tuple(BASELINES)),
  }
  restoration = None
  if request.clean:
    given = summarise(of_given, request.compare_to or request.methods[0])
    restored = _restoration(request, alignment, models, progress)
    restoration = summarise(restored, degraded.NOTHING)
    titles = (f"{title}, against the degraded pairs", "Restored visible images, against clean ones")
    texts |= {
      "scores_given.csv": of_given.to_csv(),
      "summary_given.md": write_summary(given, told, titles[0]),
      "restoration.csv": restored.to_csv(),
      "restoration.md": write_summary(restoration, alignment.notes, titles[1]),
    }
  for name, text in texts.items():
    write_atomically(output / name, text.encode(errors="replace"))  # file names may be any bytes
  return Evaluation(scores, summary, told, restoration)


def _load(request: Request, alignment: Alignment) -> _Models:
  """Loads the models, and plans programs for the images to come."""
  own = load_fuser(request.weights) if request.weights else None
  beside = degraded.load(request.weights, request.restoration) if request.clean else None
  sizes = [scene.size for scene in alignment.scenes]
  for reserve in (
    baselines.reserve,
    *([own.reserve] if own is not None else []),
    *([beside.usual.reserve] if beside is not None else []),
  ):
    reserve(sizes)
  return _Models(own, beside)


def _restoration(request: Request, alignment: Alignment, models: _Models, progress: bool) -> Scores:
  """Scores of all models that restore."""
  restorers = {}
  if models.own is not None and restoring.restores(models.own):
    restorers[label(request.weights)] = models.own
  if models.beside is not None and models.beside.restorer is not None:
    restorers[models.beside.label] = models.beside.restorer
  return degraded.score_restoration(alignment.scenes, restorers, progress=progress)


def _check(request: Request) -> None:
  if request.protocol:
    if request.protocol not in PROTOCOLS:
      raise InputError(f"unknown protocol {request.protocol!r}; valid: {', '.join(PROTOCOLS)}")
    if request.weights is None:
      raise InputError(f"protocol {request.protocol} fuses with a model: it needs weights")
  else:
    find_metrics(request.metrics, request.convention)
  if request.clean and set(request.clean) != set(MODALITIES):
    given = ", ".join(f"--clean_{modality}={path}" for modality, path in request.clean.items())
    raise InputError(
      f"clean images of one modality, {given}; allowed: --clean_visible and --clean_infrared, or "
      "none"
    )
  if request.restoration is not None and not request.clean:
    raise InputError(
      f"--restoration={request.restoration} is for degraded pairs; name the clean images, too: "
      "--clean_visible and --clean_infrared"
    )
  names = [label(path) for path in (request.weights, request.restoration) if path]
  if request.clean and len({*names, degraded.NOTHING}) <= len(names):
    raise InputError(
      f"--weights and --restoration are scored as {', '.join(names)}; allowed: names of files that "
      f"differ, other than {degraded.NOTHING!r}"
    )
  if request.clean and request.protocol:
    raise InputError(f"--protocol={request.protocol} has no clean images; leave one of both out")
  if not request.methods:
    raise InputError("nothing to score: name fused images (NAME:DIR), weights, or both")
  taken = [*BASELINES, *MODALITIES]
  if request.clean:
    taken += [*degraded.CLEAN.values(), degraded.DEGRADED, degraded.RESTORED, degraded.BOUND]
  for method in request.methods:
    if method in taken:
      names = ", ".join(dict.fromkeys(taken))
      raise InputError(f"the method name {method!r} is taken; taken: {names}")
    taken.append(method)
  known = (*request.methods, *BASELINES)
  known += request.beside
  if request.compare_to is not None and request.compare_to not in known:
    raise InputError(
      f"there is no method {request.compare_to!r} to compare to; methods: {', '.join(known)}"
    )


def _read_published(request: Request) -> Published | None:
  """The published means; refuses those that cannot stand beside the scores of the request."""
  if request.published is None:
    return None
  flag = f"--baselines={request.published}"
  if request.protocol:
    raise InputError(f"{flag} is of one convention, --protocol mixes several; leave one out")
  if request.clean:
    raise InputError(f"{flag} does not say which pairs it refers to, clean or not; leave it out")
  metrics = [metric.name for metric in find_metrics(request.metrics, request.convention)]
  published = read_published(request.published, request.convention, metrics)
  for method in request.methods:
    if method in published.rows:
      raise InputError(f"the method name {method!r} is taken by {published.title}")
  return published


def _score(request: Request, alignment: Alignment, models: _Models, progress: bool) -> Scores:
  parts = ((request.convention, request.metrics),)
  if request.protocol:
    parts = PROTOCOLS[request.protocol]
  methods = (*request.methods, *request.beside, *BASELINES)
  methods += tuple(degraded.GIVEN + method for method in methods) if request.clean else ()
  total = len(alignment.scenes) * len(methods)
  rows = ()
  for convention, metrics in parts:
    triplets = _triplets(request, alignment.scenes, models, convention)
    rows += score(triplets, metrics, convention, total=total, progress=progress).rows
  order = {name: k for k, name in enumerate(methods)}
  return Scores(tuple(sorted(rows, key=lambda row: order[row.method])))


def _triplets(
  request: Request, scenes: Sequence[Scene], models: _Models, convention: str
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
  request: Request, scene: Scene, given: Pair, clean: Pair, models: _Models, convention: str
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
