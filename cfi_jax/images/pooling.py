"""Values that stand for the images of a sequence of any length, in bounded memory."""

import numpy as np

from cfi_jax.images import ranges

KEPT = 256  # images at most


class Pool:
  """Quantiles of images that are evenly spaced in a sequence, and the ends of all of them."""

  def __init__(self) -> None:
    """Begins without an image."""
    self._kept: list[np.ndarray] = []
    self._every, self._count = 1, 0
    self._ends: list[float] = []

  def add(self, values: np.ndarray, valid: np.ndarray | None = None) -> None:
    """Adds the next image; valid: bool like `values`, false where one is missing."""
    if self._count % self._every == 0:
      self._kept.append(ranges.summarise(values, valid))
    self._count += 1
    if len(self._kept) > KEPT:
      self._kept, self._every = self._kept[::2], 2 * self._every
    present = values if valid is None else values[valid]
    if present.dtype.kind == "f":
      present = present[~np.isnan(present)]
    if present.size:
      ends = (*self._ends, float(present.min()), float(present.max()))
      self._ends = [min(ends), max(ends)]

  @property
  def values(self) -> np.ndarray:
    """Values that stand for all images, float64 [N]."""
    return np.concatenate([*self._kept, np.array(self._ends, np.float64)])
