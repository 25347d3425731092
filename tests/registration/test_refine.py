"""Gauss-Newton: derivatives and where it ends."""

import numpy as np
import pytest
import two_cameras

from cfi_jax.images import warp
from cfi_jax.registration import features, refine
from cfi_jax.registration.refine import Level


@pytest.fixture(scope="module")
def level():
  visibles, infrareds = two_cameras.rig(2)
  images = [[features.levels(i) for i in kind] for kind in (visibles, infrareds)]
  return Level.make(*images, 160)


def test_derivatives_of_places_are_those_of_the_change(random):
  x, y = random.uniform(-1, 1, (2, 20))
  for model, count in refine.PARAMETERS.items():
    moves = np.array(refine._moves(x, y, model))
    for k in range(count):
      step = np.zeros(count)
      step[k] = 1e-6
      moved = np.array(warp.transform(refine._change(step, model), x, y)) - [x, y]
      np.testing.assert_allclose(moves[:, k], moved / 1e-6, atol=1e-5)


@pytest.mark.parametrize("model", refine.PARAMETERS)
def test_it_climbs_to_the_truth_from_some_pixels_away(level, model):
  start = two_cameras.TRUTH @ warp.shift(2.5, -2) @ np.diag([1.015, 1.015, 1])
  fit = refine.refine(level, start, model)
  assert two_cameras.error(start) > 2.5
  assert (
    two_cameras.error(fit.matrix) < {"similarity": 1.3, "affine": 1.3, "homography": 0.8}[model]
  )
  assert fit.ncc == pytest.approx(_joint(level, fit.matrix), abs=1e-5)
  assert fit.ncc > _joint(level, start) + 0.1


def _joint(level, matrix):
  infrared, mask = level.infrared(matrix)
  first, second = (m[..., mask] for m in (level.visible, infrared))
  first, second = (m - m.mean(-1, keepdims=True) for m in (first, second))
  return (first * second).sum() / np.sqrt(np.square(first).sum() * np.square(second).sum())


def test_each_pair_has_its_own_correlation(level):
  ncc = refine.correlations(level, two_cameras.TRUTH)
  assert ncc.shape == (2,) and (ncc > 0.6).all()
  away = two_cameras.TRUTH @ warp.shift(1000, 0)
  assert refine.correlations(level, away).tolist() == [-1, -1]
  fit = refine.refine(level, away, "affine")
  assert fit.ncc == -1 and fit.matrix is away
