"""Fill values: told from values by their number, their place and their distance."""

import numpy as np
import pytest

from cfi_jax.images import fills

SCENE = np.linspace(29_000, 30_000, 1001).round().astype(np.uint16)


def with_fill(count, value=0, scene=SCENE):
  return np.concatenate([np.full(count, value, scene.dtype), scene])


@pytest.mark.parametrize(
  ("count", "found"), [(0, None), (1, None), (2, 0), (1001, 0), (1002, None)]
)
def test_more_than_a_thousandth_and_at_most_half_of_the_pixels(count, found):
  values = with_fill(count)
  fill, judged = fills.find(values, values.dtype)
  assert fill == found
  np.testing.assert_array_equal(judged, values if found is None else SCENE)


@pytest.mark.parametrize(("value", "found"), [(65_535, 65_535), (65_534, None), (1, None)])
def test_an_end_of_the_type_alone(value, found):
  assert fills.find(with_fill(50, value), np.dtype(np.uint16))[0] == found


def test_summaries_are_judged_by_the_type_of_their_image():
  values = with_fill(50, 65_535).astype(np.float64)
  assert fills.find(values, np.dtype(np.uint16))[0] == 65_535
  assert fills.find(values, values.dtype)[0] is None


@pytest.mark.parametrize(("low", "found"), [(970, None), (990, 0)])
def test_farther_from_the_others_than_they_lie_apart(low, found):
  scene = np.linspace(low, low + 1000, 1001)  # 980 between its percentiles, 10 above its least
  assert fills.find(with_fill(50, 0, scene - 10), scene.dtype)[0] == found


def test_values_of_one_kind_are_no_scene():
  values = with_fill(50, 0, np.full(1000, 30_000, np.uint16))
  assert fills.find(values, values.dtype)[0] is None


def test_what_lies_far_from_all_others_does_not_count_with_it():
  edge = np.array([5_000, 27_900, 28_100, 30_900, 31_100], np.uint16)
  _, judged = fills.find(np.concatenate([edge, with_fill(50)]), np.dtype(np.uint16))
  assert set(edge) & set(judged) == {28_100, 30_900}
