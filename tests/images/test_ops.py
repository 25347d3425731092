"""Image arithmetic against direct definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.images import ops


def test_laplacian_is_the_correlation_with_its_kernel(x64):
  image = np.random.default_rng(0).normal(size=(5, 7))
  padded = np.pad(image, 1)
  expected = np.zeros_like(image)
  for y in range(5):
    for x in range(7):
      expected[y, x] = padded[y : y + 3, x : x + 3].sum() - 9 * image[y, x]
  result = ops.laplacian(jnp.asarray(image)[None, ..., None])
  np.testing.assert_allclose(result[0, ..., 0], expected, atol=1e-12)


@pytest.mark.parametrize(("size", "new"), [(5, 11), (4, 8), (7, 7), (9, 4), (1, 3)])
def test_resize_matrix_interpolates_at_half_pixel_centres(size, new):
  matrix = ops.resize_matrix(size, new)
  np.testing.assert_allclose(matrix.sum(axis=1), 1)
  centres = (np.arange(new) + 0.5) * size / new - 0.5
  # A ramp is reproduced exactly inside and its end values are repeated outside.
  np.testing.assert_allclose(matrix @ np.arange(size), np.clip(centres, 0, size - 1), atol=1e-12)
  assert (np.count_nonzero(matrix, axis=1) <= 2).all()


@pytest.mark.parametrize(("size", "bins"), [(16, 8), (13, 8), (5, 8), (8, 8), (83, 3)])
def test_pool_matrix_averages_floor_to_ceil(size, bins):
  values = np.random.default_rng(1).normal(size=size)
  for j, row in enumerate(ops.pool_matrix(size, bins)):
    start, stop = int(np.floor(j * size / bins)), int(np.ceil((j + 1) * size / bins))
    assert row @ values == pytest.approx(values[start:stop].mean())


def test_resize_and_pool_work_on_both_axes_and_any_leading_ones(x64):
  image = np.random.default_rng(2).normal(size=(2, 3, 6, 10, 4))
  result = ops.resize(jnp.asarray(image), 9, 5)
  rows, columns = ops.resize_matrix(6, 9), ops.resize_matrix(10, 5)
  np.testing.assert_allclose(result, np.einsum("yh,xw,abhwc->abyxc", rows, columns, image))
  pooled = ops.average_pool(jnp.asarray(image), 2)
  np.testing.assert_allclose(pooled[..., 1, 0, :], image[..., 3:, :5, :].mean((-3, -2)))


def test_mean_map_resizes_to_the_first(x64):
  fine, coarse = jnp.full((1, 4, 6, 1), 0.2), jnp.full((1, 2, 3, 1), 0.6)
  result = ops.mean_map((fine, coarse))
  assert result.shape == (1, 4, 6, 1)
  np.testing.assert_allclose(result, 0.4)


def test_resize_to_the_same_size_costs_nothing():
  image = jnp.ones((1, 4, 4, 1))
  assert not jax.make_jaxpr(lambda x: ops.resize(x, 4, 4))(image).eqns


def test_to_uint8_rounds_to_nearest_and_clips():
  values = jnp.array([-0.1, 0.0, 0.49 / 255, 0.51 / 255, 1.0, 1.2])
  np.testing.assert_array_equal(ops.to_uint8(values), [0, 0, 0, 1, 255, 255])


@pytest.mark.parametrize("size", [1, 2, 5])
def test_positions_are_mirrored_again_and_again(size):
  positions = np.arange(-11, 14)
  expected = np.pad(np.arange(size), (11, 13), mode="reflect")[: len(positions)]
  np.testing.assert_array_equal(ops.mirrored(jnp.asarray(positions), size), expected)


@pytest.mark.parametrize("spacing", [1, 2, 3])
@pytest.mark.parametrize("border", ["reflect", "constant"])
def test_a_blur_is_the_correlation_of_both_axes(spacing, border, random, x64):
  image, taps = random.normal(size=(8, 11)), (0.1, 0.2, 0.4, 0.25, 0.05)
  kernel = np.zeros(4 * spacing + 1)
  kernel[::spacing] = taps
  mode = {"reflect": "mirror", "constant": "constant"}[border]
  expected = image
  for axis in range(2):
    expected = ndimage.correlate1d(expected, kernel, axis, mode=mode)
  batch = jnp.asarray(image)[None, ..., None]
  found = ops.blur(batch, taps, spacing, border)
  np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-12)
  apart = ops.blur(batch, taps, spacing, border, stage=ops.Stage(jnp.array(True)))
  np.testing.assert_allclose(apart, found, atol=1e-12)


def test_a_blur_mirrors_an_image_at_its_own_size(random, x64):
  image, taps = random.normal(size=(5, 7)), (0.25, 0.5, 0.25)
  canvas = np.full((8, 9, 1), 99.0)
  canvas[:5, :7, 0] = image
  found = ops.blur(jnp.asarray(canvas), taps, 2, size=jnp.array([5, 7]))
  alone = ops.blur(jnp.asarray(image)[..., None], taps, 2)
  np.testing.assert_allclose(found[:5, :7], alone, atol=1e-12)


def test_sobels_magnitude_is_that_of_scipy(random, x64):
  image = random.normal(size=(6, 9))
  across, down = (ndimage.sobel(image, axis, mode="constant") for axis in (1, 0))
  found = ops.sobel_magnitude(jnp.asarray(image)[None, ..., None])
  np.testing.assert_allclose(found[0, ..., 0], np.abs(across) + np.abs(down), atol=1e-12)


def test_the_absolute_value_is_flat_at_zero():
  x = jnp.array([-2.5, 0.0, 4.0])
  np.testing.assert_array_equal(ops.absolute(x), [2.5, 0, 4])
  np.testing.assert_array_equal(jax.grad(lambda x: ops.absolute(x).sum())(x), [-1, 0, 1])


def test_images_of_one_channel_and_one_shape_are_asked_for():
  grey = jnp.zeros((2, 3, 4, 1))
  ops.assert_grey(grey, {"pair": (grey, grey)}, rank=4)
  for images in ((grey, grey[0]), (jnp.zeros((3, 4, 3)),), (grey, grey[:, :2])):
    with pytest.raises(AssertionError):
      ops.assert_grey(*images)
  with pytest.raises(AssertionError):
    ops.assert_grey(grey, rank=3)


@pytest.mark.parametrize(("low", "high"), [("bfloat16", "float32"), ("float32", "float32")])
def test_statistics_take_no_less_than_single_precision(low, high):
  assert ops.statistics_dtype(jnp.dtype(low)) == high
