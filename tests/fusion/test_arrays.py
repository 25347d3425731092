"""Images as users hold them and windows of them: limits hit exactly, and what lies outside."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays


@pytest.mark.parametrize(
  ("shape", "batch"),
  [
    ((8, 9), (1, 8, 9, 1)),
    ((9, 8), (1, 9, 8, 1)),
    ((8, 9, 1), (1, 8, 9, 1)),
    ((8, 9, 3), (1, 8, 9, 3)),
    ((8, 9, 4), (1, 8, 9, 4)),
    ((2, 8, 9), (2, 8, 9, 1)),
    ((2, 8, 9, 3), (2, 8, 9, 3)),
  ],
)
def test_the_shapes_that_are_taken(shape, batch):
  image = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
  found = arrays.as_batch(image, "x")
  assert found.shape == batch
  np.testing.assert_array_equal(found.ravel(), image.ravel())


@pytest.mark.parametrize(
  "shape", [(7, 9), (9, 7), (7, 9, 3), (9, 7, 3), (8, 9, 2), (0, 8, 9), (1, 1, 8, 9, 3), (9,)]
)
def test_the_shapes_that_are_refused(shape):
  with pytest.raises(InputError, match="x has shape"):
    arrays.as_batch(np.zeros(shape, np.uint8), "x")


def test_one_image_is_no_batch_of_two():
  assert arrays.as_image(np.zeros((1, 8, 9), np.uint8), "x").shape == (8, 9, 1)
  with pytest.raises(InputError, match="x is a batch of 2 images; allowed here: one"):
    arrays.as_image(np.zeros((2, 8, 9), np.uint8), "x")


@pytest.mark.parametrize("start", [(0, 0), (-2, -3), (3, 5), (-1, 4), (6, 9)])
def test_a_window_is_the_image_inside_and_zero_outside(random, start):
  image = random.integers(1, 256, (8, 10, 1), np.uint8)
  found = arrays.window(image, start, (5, 6), np.dtype(np.float32))
  assert found.dtype == np.float32
  for (row, column), value in np.ndenumerate(found):
    y, x = row + start[0], column + start[1]
    inside = 0 <= y < 8 and 0 <= x < 10
    assert value == (np.float32(image[y, x, 0]) / np.float32(255) if inside else 0)


def test_a_window_of_floats_is_not_scaled(random):
  image = random.random((8, 10, 1))
  found = arrays.window(image, (0, 0), (8, 10), np.dtype(np.float64))
  np.testing.assert_array_equal(found, image[..., 0])
  wide = np.full((8, 8, 1), 65535, np.uint16)
  assert (arrays.window(wide, (0, 0), (8, 8), np.dtype(np.float32)) == 1).all()


def test_fused_values_become_the_dtype_of_the_images():
  fused = np.array([-0.1, 0.0, 0.5, 1.0])
  assert arrays.quantize(fused[1:], np.uint8).tolist() == [0, 128, 255]
  assert arrays.quantize(fused[1:], np.uint16).tolist() == [0, 32768, 65535]
  floats = arrays.quantize(np.array([-0.1, 0.25, 1.1]), np.float32)
  assert floats.dtype == np.float32 and floats.tolist() == [0, 0.25, 1]


def test_a_grey_result_is_the_luma_alone_and_a_coloured_one_keeps_its_chroma(random):
  visible = random.integers(0, 256, (8, 9, 3), np.uint8)
  luma = random.integers(0, 256, (8, 9), np.uint8)
  np.testing.assert_array_equal(arrays.finish(visible, luma, True), luma[..., None])
  assert arrays.finish(visible, luma, False).shape == (8, 9, 3)
