"""Measurement of a trained probe: every score on all scenes and on their resamples, in one file."""

import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import evenly
from cfi_jax.data.source import Source
from cfi_jax.datasets.labelled.classes import Classes
from cfi_jax.metrics import detection, segmentation
from cfi_jax.report import crossed
from cfi_jax.systems.perception import scores as scores_lib
from cfi_jax.systems.perception.inference import Perceiver, Seen
from cfi_jax.systems.perception.samples import Labelled
from cfi_jax.systems.perception.scores import Measured

RESAMPLES = 1000
SHOWN = 4  # scenes of which pictures are kept
WHOLE = ""  # condition of a score that is of no class and no carrier
MIOU, PER_IMAGE, AP50, AP = "mIoU", "mIoU per image", "AP50", "AP50:95"
IOU, CARRIED = "IoU", "right pixels"

Score = tuple[str, str]  # quantity, and class or carrier


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide what a workdir keeps of a trained probe."""

  resamples: int


PROTOCOL = Protocol(RESAMPLES)


@dataclasses.dataclass(frozen=True)
class Kept:
  """All that is kept of a trained probe.

  images: number of scenes. scores: [1 + RESAMPLES] each, by the rows of `crossed.image_draws`.
  pixels: of the objects by what carries them. pictures: by scene the two images as the network got
  them, the truth and what was perceived, uint8 RGB [H, W, 3].
  """

  images: int
  scores: dict[Score, np.ndarray]
  pixels: dict[str, int]
  pictures: dict[str, dict[str, np.ndarray]]


def measure(source: Source, perceiver: Perceiver, classes: Classes) -> Kept:
  """Scores a probe on every image of a source."""
  chosen = evenly(len(source), SHOWN)
  pictures: dict[str, dict[str, np.ndarray]] = {}

  def show(index: int, sample: Labelled, seen: Seen) -> None:
    if index in chosen:
      own = {name: _rgb(getattr(sample, name)) for name in ("visible", "infrared")}
      if seen.labels is not None:
        own |= {"truth": classes.palette[sample.labels], "seen": classes.palette[seen.labels]}
      pictures[source.names[index]] = own

  measured = scores_lib.measure(source, perceiver, classes, show)
  pixels = {name: int(counts[:, 1].sum()) for name, counts in measured.carried.items()}
  weights = crossed.image_draws(len(source), RESAMPLES)
  found = statistics(measured, weights)
  return Kept(len(source), found, pixels, pictures)


def statistics(measured: Measured, weights: np.ndarray) -> dict[Score, np.ndarray]:
  """Every score [R] where images count as the rows of weights [R, N] say, the first all once.

  A class that neither truth nor perception has in any image has no IoU and enters no mean, one that
  is perceived and nowhere true has 0; one without true boxes has no AP.
  """
  found: dict[Score, np.ndarray] = {}
  names = measured.classes.names
  if measured.confusions is not None:
    sums = np.tensordot(weights, measured.confusions, 1)
    of_classes = segmentation.intersection_over_union(sums)
    found[MIOU, WHOLE] = _mean(of_classes[:, ~np.isnan(of_classes[0])])
    own = segmentation.mean_iou_per_image(measured.confusions)
    there = ~np.isnan(own)
    found[PER_IMAGE, WHOLE] = _share(weights[:, there] @ own[there], weights @ there)
    found |= {(IOU, name): of_classes[:, c] for c, name in enumerate(names)}
  if measured.pairs is not None:
    precisions = np.stack(
      [
        detection.weighted_precision(
          [detection.match(f.of_class(c), t.of_class(c)) for f, t in measured.pairs], weights
        )
        for c in range(len(names))
      ]
    )
    known = precisions[~np.isnan(precisions[:, 0, 0])]
    found[AP50, WHOLE] = _mean(known[:, :, 0].T)
    found[AP, WHOLE] = _mean(known.mean(2).T)
    found |= {
      (AP50, name): own[:, 0]
      for name, own in zip(names, precisions, strict=True)
      if not np.isnan(own[0, 0])
    }
  for name, counts in measured.carried.items():
    if counts[:, 1].any():
      right, all_ = weights @ counts[:, 0], weights @ counts[:, 1]
      found[CARRIED, name] = _share(right, all_)
  return found


def _mean(values: np.ndarray) -> np.ndarray:
  """The mean of [R, classes] over the classes that have a value, [R]; NaN for none."""
  there = ~np.isnan(values)
  return _share(np.where(there, values, 0).sum(1), there.sum(1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _rgb(image: np.ndarray) -> np.ndarray:
  levels = np.rint(255 * image).astype(np.uint8)
  return np.ascontiguousarray(np.broadcast_to(levels, (*image.shape[:2], 3)))


def write(path: pathlib.Path, kept: Kept) -> None:
  """Writes what is kept, as a file of NumPy."""
  about: dict[str, Any] = {
    "images": kept.images,
    "scores": list(kept.scores),
    "pixels": kept.pixels,
    "pictures": [(scene, name) for scene, own in kept.pictures.items() for name in own],
  }
  arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
  arrays["scores"] = np.stack(list(kept.scores.values()))
  for index, (scene, name) in enumerate(about["pictures"]):
    arrays[f"picture_{index}"] = kept.pictures[scene][name]
  content = io.BytesIO()
  np.savez_compressed(content, **arrays)
  write_atomically(path, content.getvalue())


def read(path: pathlib.Path) -> Kept:
  """Reads what was kept; InputError for a damaged file."""
  try:
    with np.load(io.BytesIO(path.read_bytes())) as arrays:
      about = json.loads(arrays["about"].tobytes())
      scores = {tuple(key): row for key, row in zip(about["scores"], arrays["scores"], strict=True)}
      pictures: dict[str, dict[str, np.ndarray]] = {}
      for index, (scene, name) in enumerate(about["pictures"]):
        pictures.setdefault(scene, {})[name] = arrays[f"picture_{index}"]
      return Kept(about["images"], scores, about["pixels"], pictures)
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise InputError(f"{path}: damaged ({error}); remove it to measure again") from error
