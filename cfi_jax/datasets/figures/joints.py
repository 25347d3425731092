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
  mass = np.array(MASS)[keypoints[:, 2].astype(np.int64)]
  places = np.clip(np.where(mass[:, None] > 0, keypoints[:, :2], 0) - 0.5, 0, size - 1)
  corners = np.minimum(places.astype(np.int64), size - 2)
  ends = (places - corners).astype(places.dtype)
  x, y = np.stack([1 - ends, ends]).transpose(2, 0, 1)
  weights = (y[:, None] * x * mass.astype(ends.dtype)).reshape(4, -1)
  levels = np.floor(weights)
  # What rounding down left goes where it is missed most, so that the sum is exact.
  ranks = np.argsort(np.argsort(levels - weights, axis=0, kind="stable"), axis=0)
  levels += ranks < mass - levels.sum(0)
  picture = np.zeros((size, size, len(keypoints)), np.uint8)
  for own, (below, right) in zip(levels, np.ndindex(2, 2), strict=True):
    picture[corners[:, 1] + below, corners[:, 0] + right, np.arange(len(keypoints))] = own
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
