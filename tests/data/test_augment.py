import dataclasses

import numpy as np
import pytest

from cfi_jax.data import augment

BOTH = dict(crop=32, flip=True, transpose=True)


def drawn(count=400, height=40, width=50, **options):
  return [augment.draw(0, 0, index, height, width, **{**BOTH, **options}) for index in range(count)]


def test_draw_is_a_pure_function_with_values_that_stay():
  first = augment.draw(7, 3, 11, 100, 200, **BOTH)
  np.random.random()
  assert augment.draw(7, 3, 11, 100, 200, **BOTH) == first
  assert dataclasses.astuple(first) == (51, 111, 0, 1, 1)


def test_draw_differs_by_seed_epoch_and_index():
  draws = {
    augment.draw(seed, epoch, index, 1000, 1000, **BOTH)
    for seed in range(3)
    for epoch in range(3)
    for index in range(3)
  }
  assert len(draws) == 27


def test_draw_reaches_every_position_and_both_sides_of_each_coin():
  draws = drawn()
  assert {d.top for d in draws} == set(range(9))
  assert {d.left for d in draws} == set(range(19))
  for coin in ("flip_horizontal", "flip_vertical", "transpose"):
    assert 120 < sum(getattr(d, coin) for d in draws) < 280
  together = {(d.flip_horizontal, d.flip_vertical, d.transpose) for d in draws}
  assert len(together) == 8


def test_switches_turn_flips_and_transposition_off_and_leave_the_crop():
  plain = drawn(flip=False, transpose=False)
  assert not any(d.flip_horizontal or d.flip_vertical or d.transpose for d in plain)
  assert [(d.top, d.left) for d in plain] == [(d.top, d.left) for d in drawn()]


def test_apply_crops_then_flips_then_transposes():
  image = np.arange(5 * 6).reshape(5, 6, 1)
  cut = image[1:4, 2:5, 0]
  cases = {
    (0, 0, 0): cut,
    (1, 0, 0): cut[:, ::-1],
    (0, 1, 0): cut[::-1],
    (0, 0, 1): cut.T,
    (1, 0, 1): cut[:, ::-1].T,
  }
  for coins, expected in cases.items():
    chosen = augment.Augmentation(1, 2, *coins)
    np.testing.assert_array_equal(augment.apply(chosen, image, 3)[..., 0], expected)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 50), (3, 7), (20, 31), (31, 33), (32, 32)])
def test_small_images_are_reflected_without_repeating_the_edge(height, width):
  image = np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)
  padded = augment.pad_to(image, 32)
  assert padded.shape == (max(height, 32), max(width, 32), 1) and padded.dtype == np.uint16

  def reflected(side):
    offsets = np.arange(max(side, 32)) - max(32 - side, 0) // 2
    period = max(2 * side - 2, 1)
    folded = offsets % period
    return np.minimum(folded, period - folded) if side > 1 else folded

  np.testing.assert_array_equal(padded, image[reflected(height)][:, reflected(width)])
  chosen = augment.draw(0, 0, 0, height, width, **BOTH)
  assert augment.apply(chosen, image, 32).shape == (32, 32, 1)


def test_centre_is_in_the_middle():
  assert dataclasses.astuple(augment.centre(10, 7, crop=4)) == (3, 1, 0, 0, 0)
  assert dataclasses.astuple(augment.centre(3, 3, crop=4)) == (0, 0, 0, 0, 0)
