"""Contents of holes: of one level, of noise, of another part of the image."""

import jax
import numpy as np
import pytest

from cfi_jax.fusion.fillings import FILLS

IMAGE = jax.random.uniform(jax.random.key(9), (48, 64, 1), minval=0.1)


def drawn(name, most=1.0, count=60):
  """Fillings [count, 48, 64] of as many keys."""
  make = jax.jit(jax.vmap(lambda key: FILLS[name](key, IMAGE, value=0.25, most=most)))
  return np.asarray(make(jax.random.split(jax.random.key(3), count)))[..., 0]


def test_one_level_is_the_one_that_is_given():
  assert np.all(drawn("value", count=2) == 0.25)


def test_any_level_is_flat():
  levels = drawn("any value")
  assert np.all(levels == levels[:, :1, :1])
  assert np.ptp(levels) > 0.8 and len(np.unique(levels)) > 50


def test_noise_has_levels_and_contrasts_of_all_kinds_fine_and_coarse():
  noise = drawn("noise")
  assert noise.min() >= 0 and noise.max() <= 1 and all(len(np.unique(n)) > 99 for n in noise)
  assert np.ptp(noise.mean((1, 2))) > 0.3 and np.ptp(noise.std((1, 2))) > 0.05
  fine = np.abs(np.diff(noise, axis=2)).mean((1, 2)) / noise.std((1, 2))
  assert fine.min() < 0.5 and fine.max() > 1


def test_another_part_is_the_image_moved_by_a_quarter_or_more():
  image = np.asarray(IMAGE)[..., 0]
  turned = 0
  for found in drawn("elsewhere", count=20):
    (row,), (column,) = np.nonzero(found == image[0, 0])
    upright = np.roll(image, (row, column), (0, 1))
    down = row if np.array_equal(found, upright) else 47 - row
    moved = np.roll(image, (down, column), (0, 1))
    turned += down != row
    np.testing.assert_array_equal(found, moved if down == row else moved[::-1])
    assert 12 <= down <= 36 and 16 <= column <= 48
  assert 3 < turned < 17


@pytest.mark.parametrize("name", ["any value", "noise"])
def test_nothing_is_brighter_than_asked(name):
  assert 0.3 < drawn(name, most=0.4).max() <= 0.4
