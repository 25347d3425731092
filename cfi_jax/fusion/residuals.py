"""Means of the low-pass residuals of whole images, which windows of the rule `wavelet` need."""

import functools
from collections.abc import Callable

import numpy as np

from cfi_jax.images import ops

B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
BLOCK = 256  # rows that become float64 at once
TINY = 1e-9  # keeps quotients of nothing finite


def residual_mean(image: np.ndarray, planes: int, trust: np.ndarray | None = None) -> float:
  """The mean of the low-pass residual of an image [H, W], which no window of it can tell.

  trust: [H, W], bool or in [0, 1], that weights the pixels; without any the mean is 0.
  """
  rows, columns = (shares(n, planes) for n in image.shape)

  def total(block: Callable[[slice], np.ndarray]) -> float:
    blocks = (slice(start, start + BLOCK) for start in range(0, len(image), BLOCK))
    return sum(float(rows[own] @ (block(own).astype(np.float64) @ columns)) for own in blocks)

  if trust is None:
    return total(lambda own: image[own])
  weighted = total(lambda own: np.where(trust[own] > 0, image[own], 0) * trust[own])
  return weighted / max(total(lambda own: trust[own]), TINY)


@functools.lru_cache(maxsize=64)
def shares(size: int, planes: int) -> np.ndarray:
  """The share of every pixel of an axis in the mean of its low-pass residual, [size]."""
  taps = np.ones(1)
  for k in range(planes):
    spaced = np.zeros(4 * 2**k + 1)
    spaced[:: 2**k] = B3_SPLINE
    taps = np.convolve(taps, spaced)
  reach = len(taps) // 2
  found = ops.mirrored(np.arange(-reach, size + reach), size)
  return np.bincount(found, np.convolve(np.ones(size), taps), size) / size
