"""Metrics and pairs that scoring is measured on, and our way of scoring them."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.metrics import Triplet, score

CONVENTION = "strict"  # that of `public_metrics`


@dataclasses.dataclass(frozen=True)
class Names:
  """The metrics measured: without FMI, and its variants."""

  plain: tuple[str, ...]
  fmi: tuple[str, ...]

  def groups(self) -> dict[str, tuple[str, ...]]:
    """Those groups that are not empty, by title."""
    groups = {"without FMI": self.plain, "FMI": self.fmi}
    return {title: names for title, names in groups.items() if names}


def ours(triplets: Sequence[Triplet], names: Sequence[str]) -> dict[tuple[str, str], float]:
  """Our scores by (image, metric)."""
  rows = score(triplets, names, CONVENTION, progress=False).rows
  return {(row.name, row.metric): row.value for row in rows}


def read_triplets(visible: pathlib.Path, infrared: pathlib.Path, most: int) -> list[Triplet]:
  """The pairs of two folders, by name, with their average as the fused image."""
  for folder in (visible, infrared):
    if not folder.is_dir():
      raise InputError(f"{folder}: no such folder")
  paths = sorted(path for path in infrared.iterdir() if path.is_file())[:most]
  if not paths:
    raise InputError(f"{infrared}: holds no images")
  triplets = []
  for path in paths:
    images = [read_grey(p) for p in (visible / path.name, path)]
    if images[0].shape != images[1].shape:
      raise InputError(f"{path.name}: the two images differ in size")
    average = ((images[0].astype(int) + images[1] + 1) // 2).astype(np.uint8)
    triplets.append(Triplet("average", path.stem, *images, average))
  return triplets


def read_grey(path: pathlib.Path) -> np.ndarray:
  """Grey levels of a file."""
  try:
    with Image.open(path) as image:
      return np.asarray(image.convert("L"))
  except OSError as error:
    raise InputError(f"{path}: cannot be read: {error}") from error
