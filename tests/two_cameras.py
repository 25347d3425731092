"""Scenes as two cameras see them: equal edges, other values, a homography that is known."""

import numpy as np

from cfi_jax.benchmark.harness import misaligned
from cfi_jax.images import warp
from cfi_jax.registration import estimate
from cfi_jax.registration.search import Grid

SIZE = (120, 160)  # of the visible images
INFRARED = (72, 96)
# Scale, rotation and offset of the rig; the infrared camera looks beyond the picture on the right.
TRUTH = misaligned.through(
  np.array([[22.0, 8], [168, 14], [163, 116], [18, 112]]),
  [[0, 0], [95, 0], [95, 71], [0, 71]],
)

# Scales and angles around the truth.
FEW = Grid((0.8, 0.92, 1.05), tuple(np.deg2rad([-3.0, 0, 3])), 128)


def hasten(monkeypatch):
  """Searches a few places only, in a fifth of the time."""
  monkeypatch.setattr(estimate, "COARSE", FEW)
  monkeypatch.setattr(estimate, "CANDIDATES", 2)
  monkeypatch.setattr(estimate, "FINALISTS", 2)


def scene(seed, size=(160, 220)):
  """Visible and infrared brightness [H, W], float64 of 0 to 255, of boxes before a slope."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[: size[0], : size[1]].astype(float)
  visible, infrared = 60 + x / 4, 120 - y / 3
  for _ in range(28):
    cx, cy, w, h = rng.uniform(0, size[1]), rng.uniform(0, size[0]), *rng.uniform(4, 26, 2)
    angle = rng.uniform(0, np.pi)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    inside = (abs(u) < w) & (abs(v) < h)
    visible, infrared = (
      np.where(inside, level, image)
      for level, image in zip(rng.uniform(20, 235, 2), (visible, infrared), strict=True)
    )
  return visible, infrared


def pair(seed, truth=TRUTH, noise=2.0):
  """A uint8 visible image [120, 160] and the infrared one [72, 96] of a rig."""
  rng = np.random.default_rng([seed, 1])
  visible, infrared = scene(seed)
  y, x = np.mgrid[: INFRARED[0], : INFRARED[1]].astype(float)
  seen = warp.sample(infrared, *warp.transform(np.linalg.inv(truth), x, y))
  images = visible[: SIZE[0], : SIZE[1]], seen
  return tuple(np.clip(i + rng.normal(0, noise, i.shape), 0, 255).astype(np.uint8) for i in images)


def rig(count, first=0):
  """Lists of visible and infrared images."""
  visibles, infrareds = zip(*(pair(first + k) for k in range(count)), strict=True)
  return list(visibles), list(infrareds)


def error(matrix, truth=TRUTH):
  """Mean distance in visible pixels."""
  return misaligned.error(matrix, truth, SIZE, INFRARED)
