"""Evaluation of images that were fused from degraded pairs: against the clean pair, too."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import Scene, read
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.metrics import Scores, Triplet, score
from cfi_jax.systems import restoring
from cfi_jax.systems.files import label, load_any, load_fuser
from cfi_jax.systems.restoring import NOTHING
from cfi_jax.weights import shipped

CLEAN = dict(zip(MODALITIES, ("clean visible", "clean infrared"), strict=True))
GIVEN = "of the given pair: "  # before methods whose scores refer to the degraded images
DEGRADED, BOUND = f"{shipped.DEFAULT} as given", f"{shipped.DEFAULT} on the clean pair"
RESTORED = f"restored, then {shipped.DEFAULT}"


@dataclasses.dataclass(frozen=True)
class Beside:
  """Fusions beside the methods, to tell what one gains from knowing of weather.

  usual: the fuser of the package's default weights, of the clean pair and, where `as_given`, of the
    degraded one.
  restorer: restores visible images (`restore`) before `usual` fuses; None for none.
  label: of the restorer.
  """

  usual: Fuser
  as_given: bool
  restorer: Any | None
  label: str

  def fuse(self, given: Pair, clean: Pair) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the fused luma [H, W, 1] under each name."""
    if self.as_given:
      yield DEGRADED, self.usual.fuse(given.visible, given.infrared, gray=True)
    if self.restorer:
      restored = restoring.restore(self.restorer, given)
      yield RESTORED, self.usual.fuse(restored.visible, restored.infrared, gray=True)
    yield BOUND, self.usual.fuse(clean.visible, clean.infrared, gray=True)


def methods(weights: str | os.PathLike | None, restoration: str | os.PathLike | None) -> tuple:
  """Names of what `Beside.fuse` gives, in order; weights that are judged are not given again."""
  given = () if weights == shipped.DEFAULT else (DEGRADED,)
  return (*given, *(() if restoration is None else (RESTORED,)), BOUND)


def load(weights: str | os.PathLike | None, restoration: str | os.PathLike | None) -> Beside:
  """Loads the fuser of the default weights and, by a file, a restoration network.

  weights: those that are judged. Raises InputError for weights that do not restore.
  """
  usual, as_given = load_fuser(), DEGRADED in methods(weights, restoration)
  if restoration is None:
    return Beside(usual, as_given, None, "")
  try:
    restorer = load_any(restoration)
  except InputError as error:
    raise InputError(f"--restoration={restoration}: {error}") from error
  if isinstance(restorer, Fuser) or not hasattr(restorer, "restore"):
    raise InputError(f"--restoration={restoration}: these weights do not restore visible images")
  return Beside(usual, as_given, restorer, label(restoration))


def clean_pair(scene: Scene) -> Pair:
  """The clean images of a scene, as stored."""
  return Pair(*(read(scene.paths[CLEAN[modality]]) for modality in MODALITIES))


def split(scores: Scores) -> tuple[Scores, Scores]:
  """The scores that refer to the clean pairs, and those that refer to the given ones."""
  rows: tuple[list, list] = ([], [])
  for row in scores.rows:
    of_given = row.method.startswith(GIVEN)
    rows[of_given].append(row._replace(method=row.method.removeprefix(GIVEN)))
  return Scores(tuple(rows[False])), Scores(tuple(rows[True]))


def score_restoration(
  scenes: Sequence[Scene], restorers: Mapping[str, Any], *, progress: bool
) -> Scores:
  """Scores of restored visible images against the clean ones: PSNR and SSIM ("strict") of luma.

  restorers: by name, fusers that restore both images (`restore_pair`), or else the visible one
    (`restore`). The degraded image is scored beside, under `NOTHING`.
  """

  def triplets() -> Iterator[Triplet]:
    for scene in scenes:
      given = Pair(*(read(scene.paths[modality]) for modality in MODALITIES))
      clean = read(scene.paths[CLEAN["visible"]])
      yield Triplet(NOTHING, scene.name, clean, clean, given.visible)
      for name, restorer in restorers.items():
        restored = restoring.restore(restorer, given)
        # Of equal sources the fusion metrics are those of one reference.
        yield Triplet(name, scene.name, clean, clean, restored.visible)

  total = len(scenes) * (1 + len(restorers))
  return score(triplets(), restoring.METRICS, restoring.CONVENTION, total=total, progress=progress)
