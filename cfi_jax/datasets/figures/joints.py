"""Keypoints as pictures, which crops and flips treat as they treat any other image; ours.

Joint k is a point in channel k whose mass lies on the four pixels around it, by bilinear weights:
their mean place is the joint.
"""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array

MASS = (0, 127, 255)  # grey levels in all, by the keypoint's flag


def encode(keypoints: np.ndarray, size: int) -> np.ndarray:
  """Pictures of keypoints, uint8 [size, size, K].

  keypoints: [K, 3], x, y in pixels and a flag 0 (missing), 1 (hidden) or 2 (visible). Places nearer
  to the border than half a pixel are moved to the centres of the pixels there.
  """
  picture = np.zeros((size, size, len(keypoints)), np.uint8)
  for k, (x, y, flag) in enumerate(keypoints):
    mass = MASS[int(flag)]
    if not mass:
      continue
    u, v = np.clip((x - 0.5, y - 0.5), 0, size - 1)
    column, row = min(int(u), size - 2), min(int(v), size - 2)
    right, below = u - column, v - row
    weights = np.outer((1 - below, below), (1 - right, right)) * mass
    levels = np.floor(weights).astype(np.int64)
    # What rounding down left goes where it is missed most, so that the sum is exact.
    order = np.argsort((levels - weights).ravel(), kind="stable")[: mass - levels.sum()]
    levels.ravel()[order] += 1
    picture[row : row + 2, column : column + 2, k] = levels
  return picture


def decode(pictures: Array) -> Array:
  """Keypoints [K, 3] of their pictures [H, W, K] in [0, 1], to 0.01 pixels; traced.

  x, y in pixels from the upper left corner, and the flag; 0, 0, 0 where a joint is missing.
  """
  height, width, _ = pictures.shape
  total = pictures.sum((0, 1))
  mass = jnp.maximum(total, 1e-6)
  x = (pictures.sum(0) * (jnp.arange(width) + 0.5)[:, None]).sum(0) / mass
  y = (pictures.sum(1) * (jnp.arange(height) + 0.5)[:, None]).sum(0) / mass
  flags = (total > MASS[1] / 510).astype(jnp.float32) + (total > (MASS[1] + MASS[2]) / 510)
  there = flags > 0
  return jnp.stack([jnp.where(there, x, 0), jnp.where(there, y, 0), flags], axis=-1)
