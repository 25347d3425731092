"""Alignment of images as users hold them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays
from cfi_jax.images import read as images
from cfi_jax.images.given import to_filled
from cfi_jax.registration import features
from cfi_jax.registration.estimate import estimate
from cfi_jax.registration.mountings import MOUNTINGS
from cfi_jax.registration.rig import ADVICE, Confidence, Rig, Score, text

SMALLEST = 32  # pixels of a side
KINDS = ("visible", "infrared")


def align(
  visibles: Any, infrareds: Any, *, mounting: str = MOUNTINGS[0], accept: bool = False
) -> Rig:
  """Finds the homography of two cameras from a pair, or from pairs that a rig of them took.

  Args:
    visibles, infrareds: an image or several, all of a kind of one size: arrays [H, W], [H, W, C] or
      [B, H, W, C], Pillow images or paths, or lists of these. Three pairs suffice, ten are better;
      of different scenes, so that exchanging them tells chance.
    mounting: "upright": the cameras differ by at most 9 degrees. "any": the infrared camera may
      also be turned by 90, 180 and 270 degrees, or mirrored; takes eight times as long.
    accept: returns a homography that cannot be believed, too.

  Raises:
    InputError: the images are no pairs, of several sizes, too small or constant, or the result
      cannot be believed; the message has the numbers.
  """
  pairs = [_several(given, name) for given, name in zip((visibles, infrareds), KINDS, strict=True)]
  rig = find(*pairs, mounting=mounting, accept=accept)
  if not (rig.confidence.holds or accept):
    raise InputError(f"the alignment cannot be believed: {rig.confidence.describe()}; {ADVICE}")
  return rig


def find(
  visibles: Sequence[np.ndarray],
  infrareds: Sequence[np.ndarray],
  *,
  names: Sequence[str] | None = None,
  mounting: str = MOUNTINGS[0],
  accept: bool = False,
) -> Rig:
  """Aligns images [H, W, C] as `align` does, and returns the rig, believed or not.

  names: of the pairs, in the rig and in errors; their numbers by default.
  """
  if mounting not in MOUNTINGS:
    raise InputError(f"mounting is {mounting!r}; allowed: {', '.join(MOUNTINGS)}")
  if len(visibles) != len(infrareds) or not len(visibles):
    raise InputError(
      f"{len(visibles)} visible and {len(infrareds)} infrared images; allowed: as many, 1 or more"
    )
  names = [str(k) for k in range(len(visibles))] if names is None else names
  sizes = [_one_size(i, names, kind) for i, kind in zip((visibles, infrareds), KINDS, strict=True)]
  first, second = (
    [_levels(image, f"{kind} image of {name}") for image, name in zip(given, names, strict=True)]
    for given, kind in zip((visibles, infrareds), KINDS, strict=True)
  )
  found = estimate(first, second, mounting)
  scores = tuple(
    Score(name, round(float(ncc), 4), (round(float(x), 2), round(float(y), 2)))
    for name, ncc, (x, y) in zip(names, found.ncc, found.shifts, strict=True)
  )
  confidence = Confidence(found.margin, found.sharpness, found.ratio)
  if accept and not confidence.holds:
    confidence = dataclasses.replace(confidence, accepted=True)
  return Rig(found.matrix, *sizes, scores, confidence)


def _one_size(given: Sequence[np.ndarray], names: Sequence[str], kind: str) -> tuple[int, int]:
  """The (height, width) of all images of a kind."""
  size = given[0].shape[:2]
  for image, name in zip(given, names, strict=True):
    if image.shape[:2] != size:
      raise InputError(
        f"{kind} images differ in size: {names[0]} is {text(size)}, {name} is {text(image.shape)} "
        "(width x height); all of a rig must be of one"
      )
    if min(image.shape[:2]) < SMALLEST:
      raise InputError(
        f"the {kind} image of {name} is {text(image.shape)} (width x height); allowed to align: "
        f"height and width from {SMALLEST}"
      )
  return size


def _levels(image: np.ndarray, label: str) -> np.ndarray:
  levels = features.levels(images.luma(image)[..., 0])
  if levels is None:
    raise InputError(f"the {label} shows nothing to align: nearly all of its pixels are equal")
  return levels


def _several(given: Any, name: str) -> list[np.ndarray]:
  """Images [H, W, C] of an image, a batch, or a list of images or paths."""
  if isinstance(given, list | tuple):
    if not given:
      raise InputError(f"{name} holds no image")
    return [arrays.as_image(to_filled(image, name), name) for image in given]
  return list(arrays.as_batch(to_filled(given, name), name))
