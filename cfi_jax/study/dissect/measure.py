"""Networks of perception looked at on held-out images: features at places, and counts of pixels."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import Array, InputError
from cfi_jax.data import pipeline
from cfi_jax.datasets.labelled.classes import IGNORED
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, NONE, VISIBLE
from cfi_jax.engine import feed
from cfi_jax.features import places
from cfi_jax.features.spaces import Space
from cfi_jax.study.dissect.settings import LEAST_IMAGES, SPLIT, Study
from cfi_jax.systems.perception.model import JOINS, MODALITIES, Perceived, Perception
from cfi_jax.systems.perception.procedure import stream
from cfi_jax.systems.perception.samples import Labelled

GIVEN = ("both", *MODALITIES, "neither")  # images that a network gets; others are made grey
CARRIERS = {"visible alone": VISIBLE, "infrared alone": INFRARED, "both": BOTH, "neither": NONE}
FUSED = "fused"  # the name of the space that a decoder reads
_CHUNK = 16  # images seen at once


@dataclasses.dataclass(frozen=True, eq=False)
class Scenes:
  """Held-out images with their truth.

  samples: [N, ...], on the host. grey: by modality the mean of its images, which takes the place of
  an image that a network does not get. points: of the unit square [P, 2], the same in all images.
  """

  samples: Labelled
  grey: dict[str, float]
  points: np.ndarray

  @property
  def has_carriers(self) -> bool:
    """Whether it is known which image shows an object."""
    return self.samples.carrier is not None

  @property
  def carrier(self) -> np.ndarray:
    """`Labelled.carrier`; NONE everywhere where it is not known."""
    known = self.samples.carrier
    return np.full_like(self.samples.labels, NONE) if known is None else known

  def given(self, images: str) -> tuple[np.ndarray, np.ndarray]:
    """Both images [N, H, W, C], grey those that are not among `images`, one of `GIVEN`."""
    both = {name: getattr(self.samples, name) for name in MODALITIES}
    kept = MODALITIES if images == "both" else (images,)
    return tuple(x if m in kept else np.full_like(x, self.grey[m]) for m, x in both.items())

  def labels(self, shape: tuple[int, int]) -> np.ndarray:
    """Classes [N, P] at the places, of a level of that height and width."""
    found = [places.nearest(x, self.points, shape) for x in self.samples.labels]
    return places.numbered(np.stack(found))


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
  """One network seen on N images, with parameters of one step.

  features: float32 [N, P, C] by space: of each modality's encoder, "joint" of one for both, and
    "fused" where features of both are joined.
  right, found, chance: [N, G, classes, `CARRIERS`], sums over the pixels of a class and carrier: of
    those that get the right class, of those that get any but the first, which is no object, and of
    the probability of the right class, when the network gets the first G of `GIVEN`.
  pixels: [N, classes, `CARRIERS`]. confusions: [N, G, classes, classes], truth first.
  """

  features: dict[Space, np.ndarray]
  right: np.ndarray
  found: np.ndarray
  chance: np.ndarray
  pixels: np.ndarray
  confusions: np.ndarray


def open_scenes(study: Study) -> Scenes:
  """The held-out images of a study; refuses too few, and those without labels."""
  config = study.config(study.order[0], study.seeds[0])
  opened = feed.normalise({"samples": stream(config, "train")}, stream(config, SPLIT))[1]
  if len(opened.source) < LEAST_IMAGES:
    raise InputError(
      f"{opened.source.title} has {len(opened.source)} images; a dissection needs {LEAST_IMAGES}"
    )
  finish = jax.jit(lambda rows: feed.finish(opened, rows, jax.random.key(0), SPLIT))
  batches = pipeline.validation_batches(opened.source, opened.input, batch_size=_CHUNK)
  parts = []
  for names, rows in batches:
    parts.append(_first(len(names), finish(rows)))
  samples = jax.tree.map(lambda *x: np.concatenate(x), *parts)
  grey = {name: float(getattr(samples, name).mean()) for name in MODALITIES}
  points = np.random.default_rng(0).random((study.tests.places, 2))
  return Scenes(samples, grey, points)


def look(
  network: Perception, params: Mapping, scenes: Scenes, given: Sequence[str] = GIVEN
) -> Look:
  """Sees all images by a network; given: the first of `GIVEN`, what it gets of them."""
  seen = [list(_see_all(network, params, scenes, images)) for images in given]
  parts = [jax.tree.map(lambda *x: np.concatenate(x), *own) for own in seen]
  right, found, chance, confusions = (
    np.stack([part[name] for part in parts], axis=1)
    for name in ("right", "found", "chance", "confusions")
  )
  return Look(parts[0]["features"], right, found, chance, parts[0]["pixels"], confusions)


def _see_all(
  network: Perception, params: Mapping, scenes: Scenes, images: str
) -> Iterator[dict[str, Any]]:
  """Results of `_see` for each chunk; the last image fills up the last chunk."""
  arrays = (*scenes.given(images), scenes.samples.labels, scenes.carrier)
  count = len(arrays[0])
  for start in range(0, count, _CHUNK):
    rows = np.minimum(np.arange(start, start + _CHUNK), count - 1)
    seen = _see(network, params, *(x[rows] for x in arrays), scenes.points.astype(np.float32))
    yield _first(count - start, seen)


def _first(count: int, tree: Any) -> Any:
  """The first rows of all arrays, on the host."""
  return jax.tree.map(lambda x: np.asarray(x)[:count], tree)


@functools.partial(jax.jit, static_argnums=0)
def _see(
  network: Perception,
  params: Mapping,
  visible: Array,
  infrared: Array,
  labels: Array,
  carrier: Array,
  points: Array,
) -> dict[str, Any]:
  """The fields of a `Look`, of one way of being given images."""
  perceived = network.apply({"params": params}, visible, infrared)
  count = len(network.architecture.classes)
  predicted = perceived.logits.argmax(-1)
  truth = jax.nn.one_hot(jnp.where(labels == IGNORED, -1, labels), count)
  carried = jax.nn.one_hot(carrier, len(CARRIERS))[..., jnp.array([*CARRIERS.values()])]

  def count_pixels(values: Array) -> Array:
    return jnp.einsum("bhw,bhwk,bhwc->bkc", values, truth, carried)

  counted = {
    "right": predicted == labels,
    "found": predicted > 0,
    "chance": (jax.nn.softmax(perceived.logits) * truth).sum(-1),
    "pixels": jnp.ones(labels.shape),
  }
  return {name: count_pixels(x.astype(jnp.float32)) for name, x in counted.items()} | {
    "features": {space: _take(x, points) for space, x in spaces(network, perceived).items()},
    "confusions": jnp.einsum("bhwj,bhwk->bjk", truth, jax.nn.one_hot(predicted, count)),
  }


def spaces(network: Perception, perceived: Perceived) -> dict[Space, Array]:
  """Features [B, h, w, C] by space, see `Look.features`."""
  fusion = network.architecture.fusion
  own = {**perceived.features}
  if fusion == "middle" or fusion in JOINS:
    own[FUSED] = perceived.fused
  return {(name, k): x for name, levels in own.items() for k, x in enumerate(levels, start=1)}


def _take(features: Array, points: Array) -> Array:
  """Features [B, P, C] of the cells that points of the unit square lie in."""
  height, width = features.shape[1:3]
  rows, columns = jnp.floor(points * jnp.array([[height, width]])).astype(jnp.int32).T
  return features[:, rows, columns].astype(jnp.float32)


Looks = Mapping[int, Look]  # by step


def save(path: pathlib.Path, looks: Looks) -> None:
  """Writes what was seen, atomically; features in half precision."""
  arrays = {}
  for step, own in looks.items():
    for field in dataclasses.fields(own):
      value = getattr(own, field.name)
      if field.name == "features":
        arrays |= {f"{step}/{m}/{k}": x.astype(np.float16) for (m, k), x in value.items()}
      else:
        arrays[f"{step}/{field.name}"] = value
  file = io.BytesIO()
  np.savez_compressed(file, **arrays)
  write_atomically(path, file.getvalue())


def load(path: pathlib.Path, study: Study) -> Looks:
  """Reads what `save` wrote; InputError where it does not fit the study."""
  found: dict[int, dict] = {step: {"features": {}} for step in study.tests.steps}
  try:
    with np.load(io.BytesIO(path.read_bytes())) as arrays:
      for name in arrays:
        step, *rest = name.split("/")
        if len(rest) == 1:
          found[int(step)][rest[0]] = arrays[name]
        else:
          found[int(step)]["features"][rest[0], int(rest[1])] = arrays[name].astype(np.float32)
    looks = {step: Look(**own) for step, own in found.items()}
  except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
    raise InputError(f"{path}: cannot be read ({error}); remove it to measure again") from error
  for own in looks.values():
    if any(x.shape[1] != study.tests.places for x in own.features.values()):
      raise InputError(f"{path}: not of {study.tests.places} places; remove it to measure again")
  return looks
