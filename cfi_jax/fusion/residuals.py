"""Means of the low-pass residuals of whole images, which windows of the rule `wavelet` need."""

import functools
import itertools

import numpy as np

from cfi_jax.images import ops

B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
BLOCK = 256  # rows that become float64 at once


def residual_mean(image: np.ndarray, planes: int, known: np.ndarray | None = None) -> float:
  """The mean of the low-pass residual of an image [H, W], which no window of it can tell.

  known: bool [H, W], where the image has values, of which it is the mean then; None: everywhere.
  """
  if known is not None and not known.all():
    return _known_residual_mean(image, planes, known)
  rows, columns = (_shares(n, planes) for n in image.shape)
  blocks = (slice(start, start + BLOCK) for start in range(0, len(image), BLOCK))
  return sum(float(rows[own] @ (image[own].astype(np.float64) @ columns)) for own in blocks)


def _known_residual_mean(image: np.ndarray, planes: int, known: np.ndarray) -> float:
  """`residual_mean` by normalised convolution, block by block."""
  taps = _taps(planes)
  reach, side = len(taps) // 2, max(BLOCK // 4, 2**planes)
  band = np.zeros((side, side + 2 * reach))  # what smooths one axis of a block
  for i in range(side):
    band[i, i : i + len(taps)] = taps
  places = [ops.mirrored(np.arange(-reach, -(-n // side) * side + reach), n) for n in image.shape]
  total = 0.0
  for top, left in itertools.product(*(range(0, n, side) for n in image.shape)):
    own = known[top : top + side, left : left + side]
    if not own.any():
      continue
    around = np.ix_(places[0][top : top + band.shape[1]], places[1][left : left + band.shape[1]])
    mask = known[around]
    sums = (band @ x @ band.T for x in (np.where(mask, image[around], 0), mask))
    value, weight = (x[: own.shape[0], : own.shape[1]][own] for x in sums)
    total += float((value / weight).sum())
  return total / max(np.count_nonzero(known), 1)


@functools.lru_cache(maxsize=8)
def _taps(planes: int) -> np.ndarray:
  """The taps of all smoothings of an axis together, which give the low-pass residual."""
  taps = np.ones(1)
  for k in range(planes):
    spaced = np.zeros(4 * 2**k + 1)
    spaced[:: 2**k] = B3_SPLINE
    taps = np.convolve(taps, spaced)
  return taps


@functools.lru_cache(maxsize=64)
def _shares(size: int, planes: int) -> np.ndarray:
  """The share of every pixel of an axis in the mean of its low-pass residual, [size]."""
  taps = _taps(planes)
  reach = len(taps) // 2
  found = ops.mirrored(np.arange(-reach, size + reach), size)
  return np.bincount(found, np.convolve(np.ones(size), taps), size) / size
