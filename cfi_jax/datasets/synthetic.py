"""The embedded data set: procedural street scenes, generated on the device by key; no files.

Scene i of a split depends on (seed, split, i) and the options alone: not on the number of scenes,
nor on who asks.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.generated import Generated
from cfi_jax.datasets.labelled.classes import Classes, spread
from cfi_jax.datasets.splits import SPLITS, require_split
from cfi_jax.datasets.world.options import SceneOptions
from cfi_jax.datasets.world.scenes import Scene, depth, scene
from cfi_jax.datasets.world.things import KINDS
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images.read import Header

_CHUNK = 16  # scenes per program; always the same, so that a scene never depends on its company


@dataclasses.dataclass(frozen=True)
class Synthetic(SceneOptions):
  """A world (see `SceneOptions`) and how many of its scenes each split has.

  scenes: number of training scenes; validation_scenes, test_scenes: of the other splits.
  seed: a whole number from 0 to 2**31 - 1; another seed gives other scenes of the same world.
  """

  scenes: int
  validation_scenes: int
  test_scenes: int
  seed: int

  name: ClassVar[str] = "synthetic"
  title: ClassVar[str] = "Synthetic"
  splits: ClassVar[tuple[str, ...]] = SPLITS
  images: ClassVar[tuple[str, ...]] = MODALITIES

  @property
  def options(self) -> SceneOptions:
    """Options of the world alone, without the numbers of scenes."""
    fields = dataclasses.fields(SceneOptions)
    return SceneOptions(**{field.name: getattr(self, field.name) for field in fields})

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    super().__post_init__()
    limits = {"scenes": (1, 10**6), "validation_scenes": (0, 10**6), "test_scenes": (0, 10**6)}
    for name, (low, high) in {**limits, "seed": (0, 2**31 - 1)}.items():
      value = getattr(self, name)
      if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; allowed: a whole number from {low} to {high}")

  def source(self, split: str) -> "SyntheticSource":
    """Generates the scenes of a split; they stay in memory as uint8.

    The last few splits are kept: a run opens each of its own several times, a study of many runs
    that of all.
    """
    require_split(split, self.title, self.splits)
    return SyntheticSource(split, self, _kept(self, split))

  def generate(self, split: str) -> dict[str, np.ndarray]:
    """Generates the images of a split anew, uint8 [N, S, S, C] by name."""
    counts = (self.scenes, self.validation_scenes, self.test_scenes)
    indices = range(dict(zip(SPLITS, counts, strict=True))[split])
    parts = [
      {name: np.round(image * 255).astype(np.uint8) for name, image in self._images(split, chunk)}
      for chunk in (indices[i : i + _CHUNK] for i in indices[::_CHUNK])
    ]
    shape = (0, self.size, self.size)
    return {
      name: np.concatenate(
        [np.empty((*shape, self.channels(name)), np.uint8), *(part[name] for part in parts)]
      )
      for name in self.images
    }

  def channels(self, name: str) -> int:
    """The number of channels of an image."""
    del name
    return 1

  def _images(self, split: str, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each image of these scenes [N, S, S, C] in [0, 1], under its name."""
    yield from vars(scenes(self.seed, split, self.options, indices).pair).items()


@dataclasses.dataclass(frozen=True)
class SyntheticDepth(Synthetic):
  """The scenes of `Synthetic` with their depth, whose white is the distance of the houses."""

  name: ClassVar[str] = "synthetic_depth"
  images: ClassVar[tuple[str, ...]] = (*MODALITIES, "depth")

  def _images(self, split: str, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    yield from super()._images(split, indices)
    yield "depth", depths(self.seed, split, self.options, indices)


@dataclasses.dataclass(frozen=True)
class SyntheticLabels(Synthetic):
  """The scenes of `Synthetic` with the truth about their pixels and objects.

  labels: index of the class in `classes`. carrier: of the object, see `world.scenes.Scene`.
  objects: one object a channel, class + 1 at the pixels that are seen of it; empty ones are last.
  """

  name: ClassVar[str] = "synthetic_labels"
  images: ClassVar[tuple[str, ...]] = (*MODALITIES, "labels", "carrier", "objects")
  classes: ClassVar[Classes] = Classes(("background", *KINDS), spread(1 + len(KINDS)))

  @property
  def slots(self) -> int:
    """The greatest number of objects of a scene."""
    return self.objects[1]

  def channels(self, name: str) -> int:
    """The number of channels of an image."""
    return self.slots if name == "objects" else 1

  def _images(self, split: str, indices: Sequence[int]) -> Iterator[tuple[str, np.ndarray]]:
    found = scenes(self.seed, split, self.options, indices)
    yield from vars(found.pair).items()
    own = found.objects == np.arange(1, self.slots + 1)
    objects = np.where(own, 1 + 1 + found.kind[:, None, None, :], 0)  # class 0 is the background
    yield "labels", np.maximum(objects.max(-1, keepdims=True) - 1, 0) / 255
    yield "carrier", found.carrier / 255
    yield "objects", objects / 255


@dataclasses.dataclass(frozen=True)
class SyntheticSource(Generated):
  """The scenes of one split as a `Source`; images: uint8 [N, S, S, C] by name."""

  split: str
  dataset: Synthetic
  images: dict[str, np.ndarray]

  edition: ClassVar[int] = 1

  def __len__(self) -> int:
    return len(next(iter(self.images.values())))

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a scene, uint8 [S, S, C] by name."""
    return {name: images[index] for name, images in self.images.items()}

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size and depth of every image; there are no files that could be damaged."""
    size = self.dataset.size
    headers = {n: Header(size, size, np.uint8, self.dataset.channels(n)) for n in self.images}
    return (headers,) * len(self)


@functools.lru_cache(maxsize=4)
def _kept(dataset: Synthetic, split: str) -> dict[str, np.ndarray]:
  """The images of a split, which nobody may change; equal data sets share them."""
  images = dataset.generate(split)
  for image in images.values():
    image.setflags(write=False)
  return images


def scenes(seed: int, split: str, options: SceneOptions, indices: Sequence[int]) -> Scene:
  """Generates scenes of a split with their truth, as a `Scene` of arrays with a leading axis.

  The arrays are on the host; the pictures are those of `Synthetic.source` before rounding. Raises
  InputError for an unknown split or an empty list of indices.
  """
  return _in_chunks(_generate, seed, split, options, indices)


def depths(seed: int, split: str, options: SceneOptions, indices: Sequence[int]) -> np.ndarray:
  """Depth maps [N, S, S, 1] in [0, 1] of the scenes that `scenes` generates (`world.scenes.depth`).

  Raises InputError as `scenes` does.
  """
  return _in_chunks(_generate_depth, seed, split, options, indices)


def _in_chunks(generate: Callable, seed: int, split: str, options: SceneOptions, indices) -> Any:
  require_split(split, Synthetic.title, SPLITS)
  indices = np.asarray(indices, np.uint32)
  if not indices.size:
    raise InputError("no scene was asked for: indices is empty")
  stream = SPLITS.index(split)
  padded = np.pad(indices, (0, -indices.size % _CHUNK), mode="edge")
  chunks = [generate(seed, stream, part, options) for part in padded.reshape(-1, _CHUNK)]
  return jax.tree.map(lambda *parts: np.concatenate(parts)[: indices.size], *chunks)


@jax.jit
def _generate(seed, stream, indices, options: SceneOptions) -> Scene:
  """Generates a chunk of scenes [_CHUNK], each from a key of its own."""
  return jax.vmap(functools.partial(scene, options=options))(_keys(seed, stream, indices))


@jax.jit
def _generate_depth(seed, stream, indices, options: SceneOptions) -> Array:
  """Generates the depth of a chunk of scenes, [_CHUNK, S, S, 1]."""
  return jax.vmap(functools.partial(depth, options=options))(_keys(seed, stream, indices))


def _keys(seed, stream, indices) -> Array:
  key = jax.random.fold_in(jax.random.key(seed), stream)
  return jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.asarray(indices))
