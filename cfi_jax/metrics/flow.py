"""Optical flow: dense, by iterated Lucas-Kanade steps on a pyramid, without any training.

Le Besnerais and Champagnat, Dense optical flow by iterative local window registration, ICIP 2005.
"""

import numpy as np
from scipy import ndimage

RADIUS = 7  # of the windows, in pixels
STEPS = 7  # on each level of the pyramid
SMALLEST = 16  # side of its coarsest level
RIDGE = 1e-5  # squared slope of images in [0, 1] below which windows are taken for flat


def optical_flow(reference: np.ndarray, moving: np.ndarray) -> np.ndarray:
  """The displacement (rows, columns), float32 [2, H, W], in pixels.

  reference, moving: grey [H, W] in [0, 255]; `reference` at x is what `moving` shows at
  x + displacement.
  """
  levels = [tuple(np.asarray(image, np.float32) / 255 for image in (reference, moving))]
  while min(levels[-1][0].shape) >= 2 * SMALLEST:
    levels.append(tuple(_halved(image) for image in levels[-1]))
  flow = np.zeros((2, *levels[-1][0].shape), np.float32)
  for first, second in reversed(levels):
    if flow.shape[1:] != first.shape:
      flow = np.stack([_grown(2 * part, first.shape) for part in flow])
    for _ in range(STEPS):
      flow = _step(first, second, flow)
  return flow


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
  """Bilinear values of an image [H, W] at x + flow(x); beyond the border those at it."""
  places = np.indices(image.shape, np.float32) + flow
  return ndimage.map_coordinates(image, places, order=1, mode="nearest")


def is_consistent(there: np.ndarray, back: np.ndarray) -> np.ndarray:
  """The pixels where a flow [2, H, W] and the one back end within a pixel, bool [H, W]."""
  returned = there + np.stack([warp(part, there) for part in back])
  return np.hypot(*returned) < 1


def _step(reference: np.ndarray, moving: np.ndarray, flow: np.ndarray) -> np.ndarray:
  """The flow that fits the windows best, with the moving image linear around where it is now."""
  moved = warp(moving, flow)
  down, across = np.gradient(moved)
  rest = reference - moved + down * flow[0] + across * flow[1]
  dd, da, aa, dr, ar = (
    ndimage.uniform_filter(product, 2 * RADIUS + 1, mode="nearest")
    for product in (down * down, down * across, across * across, down * rest, across * rest)
  )
  # In a window without slopes the flow stays what it is.
  dd, aa, dr, ar = dd + RIDGE, aa + RIDGE, dr + RIDGE * flow[0], ar + RIDGE * flow[1]
  area = dd * aa - da * da
  return np.stack([aa * dr - da * ar, dd * ar - da * dr]) / area


def _halved(image: np.ndarray) -> np.ndarray:
  """Means of 2x2 pixels; of an odd side the last is repeated."""
  image = np.pad(image, [(0, side % 2) for side in image.shape], mode="edge")
  height, width = image.shape
  return image.reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _grown(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Bilinear values in twice the size, cut to a shape."""
  y, x = np.indices(shape, np.float32)
  return ndimage.map_coordinates(image, [(y - 0.5) / 2, (x - 0.5) / 2], order=1, mode="nearest")
