"""Features that cameras of different kinds share: the strength and direction of edges.

The channels of oriented gradients (CFOG, Ye et al., IEEE TGRS 2019) |cos(t - a) g| at many angles a
are, but for 1 %, combinations of three maps: g, g cos 2t and g sin 2t, of the gradient's length g
and direction t. These are taken instead; their scalar products are those of the channels. A
direction and its opposite are the same, so a negative gives the features of its positive.
"""

import numpy as np

from cfi_jax.images import warp

CHANNELS = 3
DIRECTION = 1.0  # weight of the maps of direction against that of length
_TAPS = np.exp(-0.5 * np.arange(-3, 4) ** 2)
TAPS = tuple(np.float32(tap) for tap in _TAPS / _TAPS.sum())  # a Gaussian of sigma 1
PERCENTILES = (0.5, 99.5)


def levels(luma: np.ndarray) -> np.ndarray | None:
  """Luma [H, W] of any type as float32, 0 to 255 between two percentiles; None where constant.

  Missing values (NaN) become the mean of the others.
  """
  values = luma.astype(np.float64)
  present = np.isfinite(values)
  if not present.any():
    return None
  values = np.where(present, values, values[present].mean())
  low, high = np.percentile(values[present], PERCENTILES)
  if not high > low:
    return None
  return (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.float32)


def edges(images: np.ndarray) -> np.ndarray:
  """Features [..., 3, H, W] of images [..., H, W] with values 0 to 255, float32.

  Each pixel's are divided by their length and half its median over the image, so that strong and
  weak edges count alike and flat parts do not.
  """
  flat = images.reshape(-1, *images.shape[-2:])
  maps = np.empty((len(flat), CHANNELS, *images.shape[-2:]), np.float32)
  for image, out in zip(flat, maps, strict=True):  # one by one they stay in the processor's cache
    _edges(image, out)
  return maps.reshape(*images.shape[:-2], *maps.shape[1:])


def _edges(image: np.ndarray, out: np.ndarray) -> None:
  """Writes the features [3, H, W] of an image [H, W]."""
  smooth = blur(image)
  across, down = _slope(smooth, -1), _slope(smooth, -2)
  length = np.sqrt(across * across + down * down)
  divisor = np.float32(DIRECTION) / np.maximum(length, np.float32(1e-6))
  maps = np.stack([length, (across * across - down * down) * divisor, 2 * across * down * divisor])
  maps = blur(maps)
  norm = np.sqrt(np.square(maps).sum(0))
  np.divide(maps, norm + np.float32(0.5 * np.median(norm[::2, ::2]) + 0.3), out=out)


def blur(images: np.ndarray) -> np.ndarray:
  """Images [..., H, W] smoothed by a Gaussian of one pixel, continued at the border."""
  reach = len(TAPS) // 2
  for axis in (-1, -2):
    around = [(0, 0)] * images.ndim
    around[axis] = (reach, reach)
    padded = np.pad(images, around, mode="edge")
    size = images.shape[axis]
    total, part = np.zeros_like(images), np.empty_like(images)
    for k, tap in enumerate(TAPS):
      window = [slice(None)] * images.ndim
      window[axis] = slice(k, k + size)
      total += np.multiply(padded[tuple(window)], tap, out=part)
    images = total
  return images


def _slope(images: np.ndarray, axis: int) -> np.ndarray:
  """Central differences along an axis, one-sided ones at its ends."""
  return np.gradient(images, axis=axis)


def at_width(image: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
  """An image [H, W] shrunk to a width if it is wider, and the homography to its pixels."""
  if image.shape[1] <= width:
    return image, np.eye(3)
  size = (max(8, round(image.shape[0] * width / image.shape[1])), width)
  return warp.resize(image, size), warp.scaling(image.shape, size)
