"""Validity of pixels: the four ways of an image to say that a pixel has no value."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.images import validity

SIZE = (9, 11)
HOLE = np.zeros((*SIZE, 1), bool)
HOLE[2:4, 3:7] = True
HOLE[8, 10] = True


def rgba(random):
  image = random.integers(0, 256, (*SIZE, 4), np.uint8)
  image[..., 3] = np.where(HOLE[..., 0], 0, random.integers(1, 256, SIZE))  # partly transparent
  return image


def one_channel(image, value):
  """Spoils a single channel of the pixels of the hole."""
  image = image.copy()
  image[HOLE[..., 0], 1] = value
  return image


SAID = {
  "alpha": rgba,
  "nan": lambda r: np.where(HOLE, np.nan, r.random((*SIZE, 1))),
  "nan in one channel": lambda r: one_channel(r.random((*SIZE, 3)), np.nan),
  "infinite": lambda r: one_channel(r.random((*SIZE, 4)), -np.inf),
  "masked": lambda r: np.ma.array(r.integers(0, 9, (*SIZE, 1)), mask=HOLE),
  "masked in one channel": lambda r: np.ma.array(
    r.random((*SIZE, 3)), mask=one_channel(np.zeros((*SIZE, 3), bool), True)
  ),
}


@pytest.mark.parametrize("way", SAID)
def test_every_way_of_saying_that_a_pixel_has_no_value(random, way):
  image = SAID[way](random)
  np.testing.assert_array_equal(validity.of(image), ~HOLE)
  clean = validity.apply(image)
  assert clean.dtype == image.dtype and clean.shape == image.shape
  np.testing.assert_array_equal(validity.of(clean), ~HOLE)
  data = np.ma.getdata(clean)
  assert (data[HOLE[..., 0]] == 0).all()
  np.testing.assert_array_equal(data[~HOLE[..., 0]], np.ma.getdata(image)[~HOLE[..., 0]])


def test_ways_add_up_and_a_mask_with_them(random):
  image = np.ma.array(rgba(random), mask=False)
  image[0, 0, 2] = np.ma.masked
  mask = np.ones((*SIZE, 1), bool)
  mask[5] = False
  expected = mask & ~HOLE
  expected[0, 0] = False
  np.testing.assert_array_equal(validity.of(validity.apply(image, mask)), expected)


def test_an_image_with_values_everywhere_is_itself(random):
  for image in (random.random((*SIZE, 4)) + 0.1, random.integers(0, 256, (*SIZE, 3), np.uint8)):
    everywhere = np.ones((*SIZE, 1), bool)
    assert validity.of(image) is None and np.shares_memory(validity.apply(image, everywhere), image)
  nothing = np.ma.array(image, mask=np.zeros(image.shape, bool))
  assert validity.of(nothing) is None and type(validity.apply(nothing)) is np.ndarray


def test_a_mask_is_false_where_it_is_black_or_has_no_value_itself():
  mask = np.zeros((2, 3, 4), np.uint8)
  mask[..., 3] = 255
  mask[0, 0, 2] = 1  # the darkest blue, whose luma is 0
  mask[0, 1] = 255, 255, 255, 0
  mask[0, 2] = 9
  assert validity.of_mask(mask)[..., 0].tolist() == [[True, False, True], [False] * 3]
  floating = np.array([[[np.nan], [0.0], [-1.0]]])
  assert validity.of_mask(floating).ravel().tolist() == [False, False, True]


def test_a_mask_of_another_size_is_named(random):
  words = "^m.png: the mask is 9x11 and the image 11x9 .width x height"
  with pytest.raises(InputError, match=words):
    validity.apply(rgba(random), np.ones((11, 9, 1), bool), "m.png")
