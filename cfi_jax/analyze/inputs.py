"""The pairs that are analysed: of two folders, or of the embedded world."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from cfi_jax import datasets
from cfi_jax.analyze.measures.observations import require_classes
from cfi_jax.analyze.measures.samples import Sample, from_scenes
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import Scene, align
from cfi_jax.data.listing import evenly
from cfi_jax.datasets.synthetic import Synthetic, scenes
from cfi_jax.datasets.world.defaults import street_scenes
from cfi_jax.fusion import arrays
from cfi_jax.fusion.arrays import MIN_SIDE
from cfi_jax.fusion.inputs import prepare
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.images import read as images
from cfi_jax.images.ranges import Normalizer

LABELS = "labels"  # the name of the folder of label images in messages

WORLD: Synthetic = datasets.load(street_scenes().to_dict())


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The chosen pairs.

  samples: read when they are asked for. sizes: of each. labels: whole numbers [H, W] of each, None
  without label images. source: of the pairs, for reports. notes: on what was left out.
  """

  samples: Sequence[Sample]
  sizes: tuple[tuple[int, int], ...]
  labels: tuple[np.ndarray, ...] | None
  source: str
  notes: tuple[str, ...]


class _Files(Sequence[Sample]):
  """The pairs of folders, each read from its files when it is asked for."""

  def __init__(self, scenes: Sequence[Scene]):
    self._scenes = scenes

  def __len__(self) -> int:
    return len(self._scenes)

  def __getitem__(self, index: int) -> Sample:
    scene = self._scenes[index]
    both = (images.read_image(scene.paths[m]) for m in MODALITIES)
    lumas = [
      arrays.window(image.plain, (0, 0), scene.size, np.dtype(np.float32))[..., None]
      for image in prepare(*both, Normalizer(), label=scene.name)
    ]
    return Sample(scene.name, Pair(*lumas))


def from_folders(
  visible: pathlib.Path, infrared: pathlib.Path, labels: pathlib.Path | None, count: int
) -> Inputs:
  """Pairs of one name and size, at most `count` (0: all), spread evenly over the sorted names.

  labels: a folder of images with one channel of 8 or 16 bits or a palette, whose values or indices
  are classes; pairs without one of their name and size are left out.

  Raises:
    InputError: as `align`; an image is damaged or too small to be fused; a label image has colours,
      or all have too many classes.
  """
  folders = dict(zip(MODALITIES, (visible, infrared), strict=True))
  found = align({**folders, LABELS: labels} if labels else folders)
  total = len(found.scenes)
  picked = [found.scenes[index] for index in evenly(total, count or total)]
  for scene in picked:
    if min(scene.size) < MIN_SIDE:
      size = "x".join(map(str, scene.size))
      raise InputError(f"{scene.name} is {size}; allowed: height and width from {MIN_SIDE}")
  samples = _Files(picked)
  for _ in track(samples, "reading all once", "pair"):
    pass  # damage is found before the work, not in the middle of it
  return Inputs(
    samples,
    tuple(scene.size for scene in picked),
    _labels([scene.paths[LABELS] for scene in picked]) if labels else None,
    f"{len(picked)} of the {total} pairs of {visible} and {infrared}",
    found.notes,
  )


def from_world(world: Synthetic, count: int) -> Inputs:
  """Test scenes 0 to `count` - 1 of an embedded world, with their truth; 0: its `test_scenes`.

  Raises:
    InputError: `count` is 0 and the world has no test scenes.
  """
  count = count or world.test_scenes
  if not count:
    raise InputError("the world has no test scenes (data.test_scenes is 0): give their number")
  made = from_scenes(scenes(world.seed, "test", world.options, range(count)))
  source = (
    f"{count} test scenes of the embedded world, {world.size}x{world.size}, seed {world.seed}"
  )
  return Inputs(made, ((world.size, world.size),) * count, None, source, ())


def _labels(paths: Sequence[pathlib.Path]) -> tuple[np.ndarray, ...]:
  labels = []
  for path in paths:
    image = images.read_classes(path)
    if image.shape[-1] != 1:
      raise InputError(
        f"{path}: {image.shape[-1]} channels; a label image has one, whose values are classes"
      )
    labels.append(image[..., 0])
  try:
    require_classes(labels)
  except InputError as error:
    raise InputError(f"{paths[0].parent}: {error}") from error
  return tuple(labels)
