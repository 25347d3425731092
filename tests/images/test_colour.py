"""Luma and chroma: which pictures are grey, and that a new luma keeps the colour."""

import numpy as np
import pytest

from cfi_jax.images import colour
from cfi_jax.images import read as images

RAMP = np.arange(4 * 6, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("alpha", [False, True])
def test_one_channel_that_differs_in_one_pixel_is_colour(channel, alpha):
  picture = np.stack([RAMP] * (4 if alpha else 3), -1)
  picture[..., 3:] = 9  # transparency is no colour
  assert colour.is_grey(picture)
  picture[2, 5, channel] += 1
  assert not colour.is_grey(picture)


def test_one_channel_is_grey():
  assert colour.is_grey(RAMP[..., None])


def test_a_picture_with_its_own_luma_is_itself_in_floats(random):
  rgb = random.random((5, 7, 3))
  luma = colour.luma(rgb)
  np.testing.assert_allclose(luma, rgb @ [0.299, 0.587, 0.114], atol=1e-12)
  np.testing.assert_allclose(colour.recolour(rgb, luma), rgb, atol=2e-3)  # three-digit constants


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_with_its_own_luma_is_itself_in_integers(random, dtype):
  top = np.iinfo(dtype).max
  rgba = random.integers(0, top, (colour.ROWS + 3, 2, 4), dtype, endpoint=True)
  same = colour.recolour(rgba, colour.luma(rgba))
  off = np.abs(same.astype(int) - rgba)
  assert off[..., :3].max() <= 2 + 5e-4 * top  # chroma is rounded, and so are its constants
  np.testing.assert_array_equal(same[..., 3], rgba[..., 3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_new_luma_is_the_luma_of_the_result_where_no_channel_is_cut(random, dtype):
  top = 1 if dtype is np.float32 else np.iinfo(dtype).max
  rgb = (random.uniform(0.45, 0.55, (6, 8, 3)) * top).astype(dtype)
  new = (random.uniform(0.4, 0.6, (6, 8)) * top).astype(dtype)
  off = colour.luma(colour.recolour(rgb, new)).astype(float) - new
  assert np.abs(off).max() <= (1 if top > 1 else 0) + 5e-4 * top
  grey = images.luma(rgb) if top > 1 else new[..., None]
  np.testing.assert_array_equal(colour.recolour(grey, new), new[..., None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_both_ends_of_the_range_and_halves_between_levels(dtype):
  top = np.iinfo(dtype).max
  fused = np.array([0, 1, 0.5 / top, 1.4 / top, 1.6 / top, 1 - 0.4 / top], np.float64)
  assert colour.to_integer(fused, np.dtype(dtype)).tolist() == [0, top, 0, 1, 2, top]
  white = np.full((1, 1, 3), top, dtype)
  for luma in (0, top):  # chroma of white is none, at whatever luma
    assert (colour.recolour(white, np.full((1, 1), luma, dtype)) == luma).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_those_of_the_formula(random, dtype):
  """Fixed point with 14 fractional bits, written out in 64 bits; both ends of the range occur."""
  top = np.iinfo(dtype).max
  rgb = random.integers(0, top, (100, 30, 3), dtype, endpoint=True)
  rgb[:20] = random.choice([0, top], (20, 30, 3))
  new = random.integers(0, top, (100, 30), dtype, endpoint=True)
  red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
  old = (4899 * red + 9617 * green + 1868 * blue + 8192) // 2**14
  np.testing.assert_array_equal(colour.luma(rgb), old)

  def scaled(x, factor):
    return np.floor(x * factor / 2**14 + 0.5).astype(np.int64)

  half = (top + 1) // 2
  cr, cb = (
    np.clip(scaled(x - old, factor) + half, 0, top) - half
    for x, factor in ((red, 11682), (blue, 9241))
  )
  expected = new.astype(np.int64) + np.stack(
    [scaled(cr, 22987), scaled(cr * -11698 + cb * -5636, 1), scaled(cb, 29049)]
  )
  found = colour.recolour(rgb, new)
  np.testing.assert_array_equal(np.moveaxis(found, -1, 0), np.clip(expected, 0, top))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
  ("step", "pixels", "shown"),
  [(0.05, 3, True), (0.05, 2, False), (0.02, 2000, False)],  # of 2000: one in a thousand is little
)
def test_more_colour_than_rounding_gives_is_shown(dtype, step, pixels, shown):
  top = 1 if dtype is np.float32 else np.iinfo(dtype).max
  picture = np.zeros((40, 50, 3), np.float64)
  picture[0, 0] = 1  # the brightest pixel is grey
  picture.reshape(-1, 3)[1 : 1 + pixels, 1] = step
  assert colour.shows_colour((picture * top).astype(dtype)) is shown
  assert not colour.shows_colour((picture * top).astype(dtype)[..., 1:2])


@pytest.mark.parametrize(("levels", "pixels", "shown"), [(8, 2000, False), (9, 11, True)])
def test_nine_levels_in_more_than_a_thousandth_of_the_pixels_are_colour(levels, pixels, shown):
  picture = np.full((100, 100, 3), 100, np.uint8)
  picture.reshape(-1, 3)[:pixels, 2] += levels
  assert colour.shows_colour(picture) is shown


@pytest.mark.parametrize("luma", [0.8, 0.1])
def test_floats_are_kept_in_0_to_1_unless_they_are_not_to_be(luma):
  red = np.array([[[1.0, 0, 0]]])  # becomes 1.5 of red in the first, less than no green otherwise
  free = colour.recolour(red, np.array([[luma]]), clip=False)
  assert free.max() > 1.4 if luma == 0.8 else free.min() < -0.1
  np.testing.assert_array_equal(colour.recolour(red, np.array([[luma]])), np.clip(free, 0, 1))
