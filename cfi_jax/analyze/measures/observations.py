"""Features of many images at a few places of each."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.scenes import Scene
from cfi_jax.features.places import cells, nearest, numbered
from cfi_jax.features.spaces import Space
from cfi_jax.fusion.types import MODALITIES

MOST_CLASSES = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
  """Features of N images at the same P places of each, and the class of each place.

  features: float32 [N, P, C] by modality and level. labels: class numbers from 0, [N, P] by level;
  empty without label maps.
  """

  features: dict[Space, np.ndarray]
  labels: dict[int, np.ndarray]


def observe(
  subject: Subject,
  samples: Sequence[Sample],
  places: int,
  seed: int,
  labels: Sequence[np.ndarray] | None = None,
) -> Observations:
  """Reads the features of a subject; those of a model that returns none are empty.

  A place is a point of the unit square, drawn uniformly and the same for every image, whatever its
  size; at each level it stands for the cell [h, w] that it lies in. Images are fused one by one; 4
  P C bytes are kept per image, modality and level.

  Args:
    labels: whole numbers [H, W] for each sample; at a level, the label of a cell is that of the
      pixel under its centre (nearest neighbour). None: the objects' kinds where every sample has
      its truth.

  Raises:
    InputError: a label map differs in size from its images, or there are too many classes.
  """
  require_classes(labels or ())
  points = np.random.default_rng(seed).random((places, 2))
  features: dict[Space, list[np.ndarray]] = {}
  classes: dict[int, list[np.ndarray]] = {}
  for index, sample in enumerate(track(samples, f"features of {subject.name}", "pair")):
    given = labels[index] if labels is not None else None
    if labels is None and sample.truth is not None:
      given = object_classes(sample.truth)
    if given is not None and given.shape != sample.size:
      raise InputError(
        f"{sample.name}: the label map is {given.shape}, the images are {sample.size}; "
        "they must be equal"
      )
    shapes = {}
    maps = subject.details(sample.batch).features
    for modality in MODALITIES:
      for level, image in enumerate(maps.get(modality, ()), start=1):
        rows, columns = cells(points, image.shape[1:3])
        values = np.asarray(image[0, rows, columns], np.float32)
        features.setdefault((modality, level), []).append(values)
        shapes[level] = image.shape[1:3]
    for level, shape in shapes.items() if given is not None else ():
      classes.setdefault(level, []).append(nearest(given, points, shape))
  return Observations(
    {space: np.stack(parts) for space, parts in features.items()},
    {k: numbered(np.stack(p)) for k, p in classes.items() if len(p) == len(samples)},
  )


def require_classes(labels: Sequence[np.ndarray]) -> None:
  """Refuses label maps with more than `MOST_CLASSES` different values in all."""
  values = set().union(*(np.unique(image).tolist() for image in labels))
  if len(values) > MOST_CLASSES:
    raise InputError(
      f"the label maps hold {len(values)} different values; allowed: at most {MOST_CLASSES} "
      "classes (pictures are no label maps)"
    )


def object_classes(scene: Scene) -> np.ndarray:
  """Class numbers int32 [S, S] of one scene: 0 where there is no object, else 1 + its kind."""
  slots = np.asarray(scene.objects)[..., 0]
  return np.where(slots > 0, np.asarray(scene.kind)[slots - 1] + 1, 0).astype(np.int32)
