"""The search by FFT against sums written out."""

import numpy as np
import pytest
import two_cameras

from cfi_jax.images import warp
from cfi_jax.registration import features, search
from cfi_jax.registration.search import Grid


def images(count=1):
  visibles, infrareds = two_cameras.rig(count)
  return [features.levels(v) for v in visibles], [features.levels(i) for i in infrareds]


def test_the_best_place_has_the_correlation_of_the_overlap():
  visibles, infrareds = images()
  ((place, *_),) = search.search(visibles, infrareds, Grid((0.9,), (0.0,), 48))
  small, shrink = features.at_width(visibles[0], 48)
  fixed = features.edges(small)
  fixed = fixed - fixed.mean((-2, -1), keepdims=True)
  width = round(0.9 * 48)
  size = (round(72 * width / 96), width)
  moving = features.edges(warp.resize(infrareds[0], size))
  moving = moving - moving.mean((-2, -1), keepdims=True)
  best = (-1.0, -1.0, 0, 0)
  for y in range(-size[0], 36):
    for x in range(-size[1], 48):
      rows, columns = slice(max(y, 0), min(36, y + size[0])), slice(max(x, 0), min(48, x + width))
      a = fixed[:, rows, columns]
      b = moving[:, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
      count = a[0].size
      if count > search.OVERLAP * size[0] * width:
        ncc = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
        best = max(best, (ncc * min(count / (0.5 * 48 * 48), 1) ** 0.25, ncc, x, y))
  assert (place.score, place.ncc) == pytest.approx(best[:2], abs=1e-5)
  expected = warp.scaling(size, (72, 96)) @ warp.shift(-best[2], -best[3]) @ shrink
  np.testing.assert_allclose(place.matrix, expected, atol=1e-9)


def test_an_angle_turns_the_infrared_image():
  angle = np.deg2rad(6)
  turn = np.array(
    [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
  )
  truth = warp.shift(47.5, 35.5) @ turn @ np.diag([0.65, 0.65, 1]) @ warp.shift(-80, -60)
  visible, infrared = (features.levels(i) for i in two_cameras.pair(3, truth))
  scale = 96 / 0.65 / 160
  (found,) = search.search([visible], [infrared], Grid((scale,), (-angle, 0.0, angle), 96))
  assert found[0].angle == angle and two_cameras.error(found[0].matrix, truth) < 3


def test_exchanged_pairs_correlate_less():
  visibles, infrareds = images(3)
  grid = Grid((0.92,), (0.0,), 64)
  right, wrong = search.search(visibles, infrareds, grid, [[0, 1, 2], [1, 2, 0]])
  assert right[0].ncc > 2 * wrong[0].ncc


def test_nearby_finds_a_shift(random):
  fixed = random.normal(size=(2, 3, 30, 40)).astype(np.float32)
  moving = np.roll(fixed, (2, -3), (-2, -1))
  found = search.nearby(fixed, moving, np.ones((30, 40), bool), 5)
  assert found.shape == (2, 11, 11)
  rows, columns = np.divmod(found.reshape(2, -1).argmax(1), 11)
  assert (rows - 5).tolist() == [-2, -2] and (columns - 5).tolist() == [3, 3]
  assert (found.max((1, 2)) > 0.8).all()
