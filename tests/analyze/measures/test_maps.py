"""Arithmetic of maps against plain definitions."""

import numpy as np
import pytest
from scipy import stats

from cfi_jax.analyze.measures import maps


def test_local_deviation_is_that_of_each_window():
  image = np.random.default_rng(0).random((9, 12))
  for side in (3, 5, 7):
    found = maps.local_deviation(image, side)
    padded = np.pad(image, side // 2, mode="reflect")
    expected = [[padded[y : y + side, x : x + side].std() for x in range(12)] for y in range(9)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
  np.testing.assert_array_equal(found, maps.local_deviation(image))
  assert (maps.local_deviation(np.full((9, 9), 0.3)) < 1e-7).all()


def test_spearman_ranks_ties_by_their_mean():
  random = np.random.default_rng(0)
  x, y = random.integers(0, 5, (2, 8, 9))
  assert maps.spearman(x, y) == pytest.approx(stats.spearmanr(x.ravel(), y.ravel())[0])
  assert maps.spearman(x, np.exp(x)) == pytest.approx(1)
  assert np.isnan(maps.spearman(x, np.zeros_like(x)))


def test_levels_average_blocks():
  image = np.random.default_rng(0).random((8, 12))
  blocks = image.reshape(4, 2, 6, 2).mean(axis=(1, 3))
  np.testing.assert_allclose(maps.to_level(image, (4, 6)), blocks, atol=1e-12)
