"""The nearest training picture, by the formula written out."""

import types

import numpy as np
import pytest

from cfi_jax.systems.dfcnet import baselines

SIDE = 8


@pytest.mark.parametrize("colours", [False, True])
def test_the_nearest_picture_is_that_of_the_least_distance(colours, random):
  """Joints a tenth of the side apart count as much as colours 0.05 apart."""
  # Joints and colours that differ about as much in these units, so that both decide.
  images = (128 + random.normal(0, 9, (40, 1, 1, 3)) + np.zeros((SIDE, SIDE, 1))).astype(np.uint8)
  flags = random.integers(0, 3, (40, 18, 1))
  keypoints = np.concatenate([random.normal(4, 1, (40, 18, 2)), flags], 2)
  album = types.SimpleNamespace(images=images, keypoints=keypoints)
  wanted = np.concatenate([random.normal(4, 1, (12, 18, 2)), np.full((12, 18, 1), 2)], 2)
  targets = 0.5 + random.normal(0, 0.035, (12, 1, 1, 3)) + np.zeros((SIDE, SIDE, 1))
  found = baselines.nearest(
    types.SimpleNamespace(target=targets, source_keypoints=wanted), lambda: album, colours
  )
  chosen = set()
  for picture, target, joints in zip(found, targets, wanted, strict=True):
    distances = []
    for image, known in zip(images, keypoints, strict=True):
      joint = np.mean([np.hypot(*(a - b)[:2]) for a, b in zip(known, joints, strict=True)])
      colour = np.mean([abs(image[..., c].mean() / 255 - target[..., c].mean()) for c in range(3)])
      distances.append(joint / SIDE / 0.1 + colours * colour / 0.05)
    chosen.add(np.argmin(distances))
    np.testing.assert_allclose(picture, images[np.argmin(distances)] / 255, atol=1e-6)
  assert found.dtype == np.float32 and len(chosen) > 5
