"""A picture to check an alignment by: checkerboards of both images, and the edges of both."""

from collections.abc import Sequence

import numpy as np

from cfi_jax.images import read as images
from cfi_jax.images import warp
from cfi_jax.registration import features
from cfi_jax.registration.rig import Rig

WIDTH = 400  # of each tile
ROWS = 3  # pairs at most
SQUARES = 8  # of the checkerboard, across
GAP = 6  # white pixels between tiles


def draw(rig: Rig, visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray]) -> np.ndarray:
  """uint8 [H, W, 3]: a row for each of the first pairs, [H, W, C] of any type.

  Its tiles: checkerboard before and after, edges before and after; "before" the infrared image is
  stretched over the visible one. Visible edges are red, infrared ones cyan, both white.
  """
  height, width = rig.visible
  size = max(1, round(height * WIDTH / width)), WIDTH
  shrink = np.linalg.inv(warp.scaling(rig.visible, size))
  before = warp.scaling(rig.visible, rig.infrared)
  rows = []
  for visible, infrared in list(zip(visibles, infrareds, strict=True))[:ROWS]:
    first, second = (_grey(image) for image in (visible, infrared))
    seen, _ = warp.warp(first, shrink, size)
    pairs = [(seen, *warp.warp(second, matrix @ shrink, size)) for matrix in (before, rig.matrix)]
    tiles = [_checkerboard(*pair) for pair in pairs] + [_edges(*pair) for pair in pairs]
    rows.append(_join(tiles, 1))
  return _join(rows, 0)


def _grey(image: np.ndarray) -> np.ndarray:
  """float32 [H, W] of values 0 to 255."""
  levels = features.levels(images.luma(image)[..., 0])
  return np.zeros(image.shape[:2], np.float32) if levels is None else levels


def _checkerboard(visible: np.ndarray, infrared: np.ndarray, mask: np.ndarray) -> np.ndarray:
  side = max(1, WIDTH // SQUARES)
  y, x = np.indices(visible.shape) // side
  mixed = np.where(((x + y) % 2 == 1) & mask, infrared, visible)
  return np.repeat(np.rint(mixed)[..., None], 3, -1).astype(np.uint8)


def _edges(visible: np.ndarray, infrared: np.ndarray, mask: np.ndarray) -> np.ndarray:
  red, cyan = (features.edges(image)[0] for image in (visible, infrared))
  cyan = np.where(mask, cyan, 0)
  red, cyan = (np.clip(part / max(np.percentile(part, 99), 1e-6), 0, 1) for part in (red, cyan))
  return np.rint(255 * np.stack([red, cyan, cyan], -1)).astype(np.uint8)


def _join(tiles: Sequence[np.ndarray], axis: int) -> np.ndarray:
  """Tiles [H, W, 3] beside each other (axis 1) or below each other (axis 0), with gaps."""
  parts = []
  for tile in tiles:
    gap = list(tile.shape)
    gap[axis] = GAP
    parts += [np.full(gap, 255, np.uint8)] * bool(parts) + [tile]
  return np.concatenate(parts, axis)
