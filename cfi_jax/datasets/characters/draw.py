"""Pictures of characters with their keypoints and parts, drawn as sorted points; ours."""

import numpy as np

from cfi_jax.datasets.characters.dress import Surface
from cfi_jax.datasets.figures.render import HIDDEN, SAMPLES, VISIBLE, Figure
from cfi_jax.datasets.figures.skeleton import FLOOR, JOINTS

SCALE = 0.05  # picture sides per dm
LIGHT = np.array([-0.35, 0.45, 0.82])
# Depth in dm that a joint may lie below the surface at its place and be seen.
REACH = {"shoulder": 1.3, "elbow": 0.8, "wrist": 0.7, "hip": 1.8, "knee": 1.0, "ankle": 0.9}
REACH |= {"neck": 1.3, "nose": 0.5, "eye": 0.5, "ear": 0.8}


def draw(
  surface: Surface, vertices: np.ndarray, joints: dict[str, np.ndarray], room: np.ndarray
) -> Figure:
  """The picture of a posed character before a room, RGB [S, S, 3] in [0, 1], as the room has it.

  vertices: [V, 3], skinned. joints: by name. The lowest point of the surface stands on the floor.
  """
  size = room.shape[0]
  grid = size * SAMPLES
  corners = vertices[surface.corners]
  points = np.einsum("nk,nkc->nc", surface.weights, corners)
  normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
  normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
  low = points[:, 1].min()

  def to_picture(places: np.ndarray) -> np.ndarray:
    """Places in the picture, [..., 2] in [0, 1] from the upper left."""
    across, up = places[..., 0] * SCALE + 0.5, 1 - FLOOR - (places[..., 1] - low) * SCALE
    return np.stack([across, up], -1)

  column, row = np.floor(to_picture(points) * grid).astype(int).T
  seen = (normals[:, 2] > -0.05) & (np.minimum(column, row) >= 0) & (np.maximum(column, row) < grid)
  order = np.flatnonzero(seen)
  order = order[np.argsort(points[order, 2], kind="stable")]  # the nearest is written last
  at = row[order], column[order]
  shade = 0.5 + 0.5 * np.clip(normals[order] @ LIGHT, 0, 1)
  drawn = np.full((grid, grid), -1)
  drawn[at] = np.arange(len(order))
  drawn = _close(drawn)
  hit = drawn >= 0
  image = np.repeat(np.repeat(room, SAMPLES, 0), SAMPLES, 1)
  image[hit] = (surface.colours[order] * shade[:, None])[drawn[hit]]
  parts = np.zeros((grid, grid), np.uint8)
  parts[hit] = surface.parts[order][drawn[hit]]
  depth = np.full((grid, grid), -np.inf)
  depth[hit] = points[order, 2][drawn[hit]]
  image = image.reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3))
  keypoints = np.zeros((len(JOINTS), 3), np.float32)
  for k, name in enumerate(JOINTS):
    place = to_picture(joints[name])
    if (place > 0).all() and (place < 1).all():
      x, y = (place * grid).astype(int)
      behind = depth[y, x] > joints[name][2] + REACH[name.split()[-1]]
      keypoints[k] = (*(place * size), HIDDEN if behind else VISIBLE)
  return Figure(np.clip(image, 0, 1), parts[::SAMPLES, ::SAMPLES], keypoints)


def _close(drawn: np.ndarray) -> np.ndarray:
  """Points [N, N] that samples show, -1 for none, with holes between two of them filled."""
  for _ in range(2):
    for axis in (0, 1):
      before, after = np.roll(drawn, 1, axis), np.roll(drawn, -1, axis)
      drawn = np.where((drawn < 0) & (before >= 0) & (after >= 0), before, drawn)
  return drawn
