"""Values that stand for a sequence: those of images evenly spaced in it, and all ends."""

import numpy as np
import pytest

from cfi_jax.images import pooling, ranges
from cfi_jax.images.pooling import Pool


def frame(number):
  return np.array([[number, number + 0.25], [number + 0.5, np.nan]], np.float32)


def pool(count, **given):
  found = Pool()
  for number in range(count):
    found.add(frame(number), **given)
  return found.values


@pytest.mark.parametrize(
  ("count", "kept"), [(4, (0, 1, 2, 3)), (5, (0, 2, 4)), (8, (0, 2, 4, 6)), (9, (0, 4, 8))]
)
def test_images_that_are_kept_are_evenly_spaced(monkeypatch, count, kept):
  monkeypatch.setattr(pooling, "KEPT", 4)
  parts = [ranges.summarise(frame(number), None) for number in kept]
  np.testing.assert_array_equal(pool(count), np.concatenate([*parts, [0, count - 0.5]]))


def test_256_images_are_kept_at_most():
  size = len(ranges.summarise(frame(0), None))
  assert len(pool(256)) == 256 * size + 2 and len(pool(257)) == 129 * size + 2


def test_ends_are_those_of_valid_values_alone():
  valid = np.array([[False, True], [False, True]])
  found = pool(3, valid=valid)
  np.testing.assert_array_equal(found[-2:], [0.25, 2.25])
  assert found.min() == 0.25 and found.max() == 2.25 and found.dtype == np.float64


def test_whole_numbers_and_images_of_missing_values_alone():
  found = Pool()
  found.add(np.full((2, 2), np.nan))
  assert found.values.size == 0
  found.add(np.array([[3, 9]], np.uint8))
  np.testing.assert_array_equal(found.values[-2:], [3, 9])
