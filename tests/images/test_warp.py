"""Images on other grids: values, borders, types, missing pixels."""

import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.images import warp

TILT = np.array([[1.1, 0.2, -3.0], [-0.1, 0.9, 2.0], [1e-3, -5e-4, 1.0]])


def test_samples_are_bilinear_and_those_at_the_border_beyond_it(random):
  image = random.normal(size=(2, 13, 17))
  x, y = random.uniform(-4, 20, (2, 50))
  expected = [ndimage.map_coordinates(i, [y, x], order=1, mode="nearest") for i in image]
  np.testing.assert_allclose(warp.sample(image, x, y), expected, atol=1e-12)


def test_points_beyond_the_border_by_rounding_are_inside():
  ends = np.array([-1e-6, 0, 4, 4 + 1e-6]), np.array([-2e-6, 4 + 2e-6, np.nan])
  for points, expected in zip(ends, (True, False), strict=True):
    middle = np.full_like(points, 2)
    assert (warp.inside(points, middle, (9, 5)) == expected).all()
    assert (warp.inside(middle, points, (5, 9)) == expected).all()


def test_a_homography_leads_from_the_grid_to_the_image(random):
  image = random.normal(size=(30, 40, 3))
  values, mask = warp.warp(image, TILT, (20, 25))
  for x, y in ((0, 0), (12, 7), (24, 19)):
    u, v, w = TILT @ [x, y, 1]
    u, v = u / w, v / w
    assert mask[y, x] == (0 <= u <= 39 and 0 <= v <= 29)
    expected = [
      ndimage.map_coordinates(image[..., c], [[v], [u]], order=1, mode="nearest")[0]
      for c in range(3)
    ]
    np.testing.assert_allclose(values[y, x], expected, atol=1e-12)
  assert 0 < mask.sum() < mask.size


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_the_type_is_kept_and_integers_are_rounded(dtype):
  image = np.array([[10, 11], [10, 11]], dtype)
  values, mask = warp.warp(image, warp.shift(0.75, 0), (2, 2))
  assert values.dtype == dtype and mask.tolist() == [[True, False]] * 2
  assert values[0].tolist() == ([11, 11] if np.dtype(dtype).kind != "f" else [10.75, 11])


def test_the_same_grid_gives_the_image_itself(random):
  image = random.integers(0, 65536, (300, 11), np.uint16)
  values, mask = warp.warp(image, np.eye(3), image.shape)
  np.testing.assert_array_equal(values, image)
  assert mask.all()


def test_where_a_pixel_without_a_value_contributes_there_is_none(random):
  image = random.normal(size=(9, 9)).astype(np.float32)
  image[4, 4] = np.nan
  values, mask = warp.warp(image, warp.shift(0.5, 0), (9, 8))
  assert np.isfinite(values).all()
  assert np.argwhere(~mask).tolist() == [[4, 3], [4, 4]]


def test_a_finer_image_is_averaged():
  image = np.tile([0.0, 0, 0, 100], (16, 16))
  values, _ = warp.warp(image, warp.scaling((4, 16), (16, 64)), (4, 16))
  np.testing.assert_allclose(values, 25)


def test_sizes_have_their_borders_in_common():
  matrix = warp.scaling((10, 20), (5, 40))
  for old, new in (((-0.5, -0.5), (-0.5, -0.5)), ((19.5, 9.5), (39.5, 4.5))):
    np.testing.assert_allclose(warp.transform(matrix, *np.array(old)), new)


def test_a_step_of_the_grid_spans_pixels():
  assert warp.spacing(np.diag([2.0, 3.0, 1.0]), (10, 10)) == pytest.approx(np.sqrt(6))
  sheared = np.array([[2.0, 1, 0], [1, 3, 0], [0, 0, 1]])
  assert warp.spacing(sheared, (10, 10)) == pytest.approx(np.sqrt(5))
  tilted = np.array([[1.0, 0, 0], [0, 1, 0], [0.01, 0, 1]])  # of 101 columns the middle is 50
  assert warp.spacing(tilted, (5, 101)) == pytest.approx(np.sqrt((51 / 1.51 - 50 / 1.5) / 1.5))
  fallen = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0.01, 1]])
  assert warp.spacing(fallen, (101, 5)) == pytest.approx(np.sqrt((51 / 1.51 - 50 / 1.5) / 1.5))


STRIPES = np.tile([0.0, 100], (16, 8))


@pytest.mark.parametrize(("height", "value"), [(16, 50), (4, 50), (3, 0)])
def test_a_grid_of_every_second_pixel_takes_means_unless_one_row_would_be_left(height, value):
  values, _ = warp.warp(STRIPES[:height], np.diag([2.0, 2, 1]), (height // 2, 8))
  np.testing.assert_allclose(values, value)


def test_a_block_with_a_pixel_without_a_value_has_none():
  image = STRIPES.copy()
  image[4, 4] = np.nan
  values, mask = warp.warp(image, np.diag([2.0, 2, 1]), (8, 8))
  wanted = np.ones((8, 8), bool)
  wanted[0] = wanted[:, 0] = False  # a quarter of a block before the first centre
  wanted[2:4, 2:4] = False
  np.testing.assert_array_equal(mask, wanted)
  np.testing.assert_allclose(values[wanted], 50)


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1), (2, 2)])
def test_images_of_one_row_or_column_are_sampled(random, size):
  image = random.normal(size=size)
  x, y = random.uniform(-1, 5, (2, 20))
  expected = ndimage.map_coordinates(image, [y, x], order=1, mode="nearest")
  np.testing.assert_allclose(warp.sample(image, x, y), expected, atol=1e-12)
  assert warp.sample(image, np.array(np.nan), np.array(np.nan)) == image[0, 0]


def test_resizing_takes_means_where_it_shrinks_and_interpolates_where_it_grows():
  image = np.array([[0, 4, 8, 20], [0, 4, 8, 20]], np.float32)
  assert warp.resize(image, (2, 4)) is image
  np.testing.assert_allclose(warp.resize(image, (1, 2)), [[2, 14]])
  np.testing.assert_allclose(warp.resize(image, (2, 8))[0], [0, 1, 3, 5, 7, 11, 17, 20])
  as_many = warp.resize(image, (4, 2))  # pixels; smoothed by a triangle
  np.testing.assert_allclose(as_many[0, 0], (0.75 * 4 + 0.25 * 8) / 1.75, rtol=1e-5)
