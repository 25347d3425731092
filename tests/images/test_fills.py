"""Fill values: told from values by their number, their place and their distance."""

import numpy as np
import pytest

from cfi_jax.images import fills

SCENE = np.linspace(29_000, 30_000, 1001).round().astype(np.uint16)


def with_fill(count, value=0, scene=SCENE):
  return np.concatenate([np.full(count, value, scene.dtype), scene])


@pytest.mark.parametrize(
  ("count", "found"), [(0, ()), (1, ()), (2, (0,)), (10_010, (0,)), (10_011, ())]
)
def test_more_than_one_of_ten_thousand_and_at_most_half_of_the_pixels(count, found):
  scene = np.tile(SCENE, 10)
  values = with_fill(count, scene=scene)
  filled, judged = fills.find(values, values.dtype)
  assert filled == found
  np.testing.assert_array_equal(judged, scene if found else values)


@pytest.mark.parametrize(("value", "found"), [(65_535, (65_535,)), (65_534, ()), (1, ())])
def test_an_end_of_the_type_alone(value, found):
  assert fills.find(with_fill(50, value), np.dtype(np.uint16))[0] == found


def test_both_ends_of_the_type():
  """A border of 0, and what is hot enough to saturate; neither hides the other."""
  values = np.concatenate([with_fill(100), with_fill(100, 65_535)])
  filled, judged = fills.find(values, values.dtype)
  assert filled == (0, 65_535) and (judged.min(), judged.max()) == (29_000, 30_000)
  values = np.concatenate([with_fill(1001), with_fill(1002, 65_535)])  # more than half together
  assert fills.find(values, values.dtype)[0] == ()


def test_an_end_that_is_of_the_scene_counts_beside_one_that_is_not():
  scene = np.arange(1, 1001, dtype=np.uint16)
  values = np.concatenate([with_fill(100, 0, scene), with_fill(100, 65_535, scene)])
  filled, judged = fills.find(values, values.dtype)
  assert filled == (65_535,) and judged.min() == 0 and (judged == 0).sum() == 100


def test_summaries_are_judged_by_the_type_of_their_image():
  values = with_fill(50, 65_535).astype(np.float64)
  assert fills.find(values, np.dtype(np.uint16))[0] == (65_535,)
  assert fills.find(values, values.dtype)[0] == ()


@pytest.mark.parametrize(("low", "found"), [(880, ()), (900, (0,))])
def test_farther_from_the_scene_than_it_is_wide(low, found):
  scene = np.linspace(low, low + 1000, 1001)  # 890 between its percentiles, 100 above its least
  assert fills.find(with_fill(50, 0, scene - 100), scene.dtype)[0] == found


@pytest.mark.parametrize("scene", [np.full(1000, 30_000, np.uint16), np.zeros(0, np.uint16)])
def test_values_of_one_kind_are_no_scene(scene):
  values = with_fill(50, 0, scene)
  assert fills.find(values, values.dtype)[0] == ()


def test_what_lies_far_from_the_scene_beside_a_fill_value_does_not_count_with_it():
  edge = np.array([5_000, 28_150, 28_250, 30_850, 30_950, 60_000], np.uint16)
  for value, kept in [(0, edge[2:]), (65_535, edge[:4])]:
    _, judged = fills.find(np.concatenate([edge, with_fill(50, value)]), np.dtype(np.uint16))
    assert set(edge) & set(judged) == set(kept)


@pytest.mark.parametrize(("count", "found"), [(9, ()), (10, (0,))])
def test_what_is_too_much_for_an_edge_is_a_dark_object(count, found):
  """A dark car before snow: a few of its pixels are 0, and most are not."""
  car = np.linspace(10, 20_000, 50).astype(np.uint16)
  values = np.concatenate([car, with_fill(count)])
  filled, judged = fills.find(values, values.dtype)
  assert filled == found and (car[0] in judged) == (not found)


def test_the_edge_of_a_border_in_a_small_image():
  """160x120 that were turned by bilinear interpolation: 3% of the pixels are of the edge."""
  edge = np.linspace(1, 28_999, 32).astype(np.uint16)
  filled, judged = fills.find(np.concatenate([edge, with_fill(70)]), np.dtype(np.uint16))
  assert filled == (0,) and judged.min() > 28_000
