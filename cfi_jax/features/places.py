"""Places in images: points of the unit square, at each level the cells that they lie in."""

from collections.abc import Sequence

import numpy as np


def cells(points: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Rows and columns [P] of the cells that points of the unit square lie in."""
  rows, columns = np.floor(points * shape).astype(np.int64).T
  return rows, columns


def nearest(labels: np.ndarray, points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
  """Labels under the centres of the cells of a map of `shape`."""
  centres = (np.stack(cells(points, shape), axis=1) + 0.5) / shape
  return labels[cells(centres, labels.shape)]


def numbered(labels: np.ndarray) -> np.ndarray:
  """The same classes with numbers from 0 without gaps."""
  _, numbers = np.unique(labels, return_inverse=True)
  return numbers.reshape(labels.shape)
