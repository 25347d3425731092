"""Arithmetic of maps [H, W] on the host: local information, ranks, levels, means of regions."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

from cfi_jax.images import ops

SIDE = 7  # pixels of the window of local information


def local_deviation(image: np.ndarray, side: int = SIDE) -> np.ndarray:
  """Local information: the standard deviation in the window of an odd side around every pixel.

  Population form, in the unit of the image. The image [H, W], H and W > side // 2, is mirrored at
  its borders; the edge pixel is not repeated.
  """
  image = image.astype(np.float64)
  mean = _box(image, side)
  # In float64 the difference of squares of values in [0, 1] is exact to 1e-16.
  return np.sqrt(np.maximum(_box(image**2, side) - mean**2, 0))


def _box(image: np.ndarray, side: int) -> np.ndarray:
  padded = np.pad(image, side // 2, mode="reflect")
  rows = sliding_window_view(padded, side, axis=0).mean(axis=-1)
  return sliding_window_view(rows, side, axis=1).mean(axis=-1)


def to_level(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """[H, W] averaged to the smaller `shape` of a level (see `ops.pool_matrix`)."""
  rows, columns = (ops.pool_matrix(n, m) for n, m in zip(image.shape, shape, strict=True))
  return rows @ image @ columns.T


def spearman(first: np.ndarray, second: np.ndarray) -> float:
  """Spearman's rank correlation of two maps, ties by their mean rank; NaN where one is constant."""
  x, y = (ranks - ranks.mean() for ranks in map(stats.rankdata, (first, second)))
  norm = np.sqrt((x @ x) * (y @ y))
  return float(x @ y / norm) if norm > 0 else float("nan")


def mean_in(values: np.ndarray, region: np.ndarray) -> float:
  """Mean of a map over a region (bool, same shape); NaN where the region is empty."""
  return float(values[region].mean()) if region.any() else float("nan")


def ratio(part: float, whole: float) -> float:
  """A share; NaN of nothing."""
  return float(part / whole) if whole > 0 else float("nan")


def picture(values: np.ndarray) -> np.ndarray:
  """Values in [0, 1] as a uint8 picture."""
  return np.asarray(ops.to_uint8(values))
