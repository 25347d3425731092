"""Arithmetic of maps [H, W] on the host: local information, ranks, levels, means of regions."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cfi_jax.images import ops


def local_deviation(image: np.ndarray, side: int) -> np.ndarray:
  """Local information: the standard deviation in the side x side window around every pixel.

  image: [H, W] with H, W > side // 2, in any unit, which the result has too. The image is mirrored
  at its borders, the edge pixel not repeated. Population form.
  """
  image = image.astype(np.float64)
  mean = _box(image, side)
  # In float64 the difference of squares of values in [0, 1] is exact to 1e-16.
  return np.sqrt(np.maximum(_box(image**2, side) - mean**2, 0))


def _box(image: np.ndarray, side: int) -> np.ndarray:
  before, after = (side - 1) // 2, side // 2
  padded = np.pad(image, (before, after), mode="reflect")
  rows = sliding_window_view(padded, side, axis=0).mean(axis=-1)
  return sliding_window_view(rows, side, axis=1).mean(axis=-1)


def to_level(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """[H, W] averaged to the smaller `shape` of a level (see `ops.pool_matrix`)."""
  rows, columns = (ops.pool_matrix(n, m) for n, m in zip(image.shape, shape, strict=True))
  return rows @ image @ columns.T


def spearman(first: np.ndarray, second: np.ndarray) -> float:
  """Spearman's rank correlation of two maps, ties by their mean rank; NaN where one is constant."""
  ranks = [_ranks(values.ravel()) for values in (first, second)]
  x, y = (r - r.mean() for r in ranks)
  norm = np.sqrt((x @ x) * (y @ y))
  return float(x @ y / norm) if norm > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
  _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
  return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def mean_in(values: np.ndarray, region: np.ndarray) -> float:
  """Mean of a map over a region (bool, same shape); NaN where the region is empty."""
  return float(values[region].mean()) if region.any() else float("nan")


def picture(values: np.ndarray) -> np.ndarray:
  """Values in [0, 1] as a uint8 picture."""
  return np.asarray(ops.to_uint8(values))
