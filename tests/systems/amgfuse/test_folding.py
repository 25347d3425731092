"""Squares of pixels as single pixels with more channels."""

import numpy as np
import pytest

from cfi_jax.systems.amgfuse.folding import FOLDS, folded, unfolded


@pytest.mark.parametrize("fold", FOLDS)
def test_a_square_becomes_a_pixel_and_comes_back(fold):
  x = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
  y = np.asarray(folded(x, fold))
  assert y.shape == (2, 8 // fold, 12 // fold, 3 * fold**2)
  square = x[1, fold : 2 * fold, 2 * fold : 3 * fold]
  assert sorted(y[1, 1, 2]) == sorted(square.ravel())
  np.testing.assert_array_equal(unfolded(y, fold), x)
