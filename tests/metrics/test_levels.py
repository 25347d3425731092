"""Grey conversion and 8-bit rounding."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.metrics import grey_levels, quantise


def test_grey_images_pass_unchanged():
  levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
  for convention in ("tang", "cddfuse", "strict"):
    np.testing.assert_array_equal(grey_levels(levels, convention), levels)
    np.testing.assert_array_equal(grey_levels(levels[..., None], convention), levels)
    stored_as_colour = np.repeat(levels[..., None], 3, axis=-1)
    np.testing.assert_array_equal(grey_levels(stored_as_colour, convention), levels)


def test_luma_rules_differ_where_documented():
  """Share of random colours that differ from `strict` by one level: 0.49 % and 0.05 %."""
  rng = np.random.default_rng(0)
  colours = rng.integers(0, 256, (500, 1000, 3), dtype=np.uint8)
  strict = grey_levels(colours, "strict").astype(int)
  exact = colours @ np.array([299, 587, 114])
  np.testing.assert_array_equal(strict, (exact + 500) // 1000)
  for convention, low, high in (("tang", 0.004, 0.006), ("cddfuse", 0.0003, 0.0008)):
    difference = np.abs(grey_levels(colours, convention) - strict)
    assert difference.max() == 1
    assert low < difference.mean() < high


def test_rounding_at_one_half():
  colour = np.array([[[0, 0, 250]]], np.uint8)  # luma 28.5
  assert grey_levels(colour, "strict")[0, 0] == 29
  assert grey_levels(colour, "cddfuse")[0, 0] == 28  # half to even
  assert grey_levels(np.array([[0.5, 1.4999, 254.5, 300.0]]), "tang").tolist() == [[1, 1, 255, 255]]


def test_quantise_rounds_half_up():
  values = np.array([0.0, 0.5 / 255, 0.49 / 255, 1.0, 1.2, -0.1])
  assert quantise(values).tolist() == [0, 1, 0, 255, 255, 0]


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.full((4, 4), 0.7), r"pic: floating-point levels reach only 0\.7; .*multiply"),
    (np.full((4, 4), np.nan), "pic: .*NaN"),
    (np.array([[9.0, np.inf], [7, 8]]), "pic: .*NaN or infinite"),
    (np.array([[0.0, 1.0]]), r"pic: floating-point levels reach only 1; "),
    (np.array([[255, 256]]), r"levels 255\.\.256; allowed: 0\.\.255"),
    (np.array([[-1, 255]]), r"levels -1\.\.255"),
    (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\)"),
    (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
    (np.full((4, 4), 300), r"levels 300\.\.300; allowed: 0\.\.255"),
    (np.full((4, 4), -1), r"levels -1\.\.-1"),
    (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
    (np.zeros((4,), np.uint8), r"\(4,\)"),
    (np.zeros((0, 4), np.uint8), "empty"),
    (np.zeros((4, 4), bool), "bool"),
  ],
)
def test_unusable_images(image, message):
  with pytest.raises(InputError, match=message):
    grey_levels(image, "strict", "pic")


def test_images_are_taken_as_fusing_takes_them():
  colours = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
  picture = Image.fromarray(colours).quantize(16)  # its numbers are indices into a palette
  wanted = grey_levels(np.asarray(picture.convert("RGB")), "strict")
  np.testing.assert_array_equal(grey_levels(picture, "strict"), wanted)
  np.testing.assert_array_equal(grey_levels(wanted.tolist(), "strict"), wanted)
  with pytest.raises(InputError, match="x: the image has masked pixels"):
    grey_levels(np.ma.masked_array(wanted, wanted > 100), "strict", "x")


def test_black_floats_and_those_just_above_one_are_levels():
  assert grey_levels(np.zeros((2, 2)), "strict").tolist() == [[0, 0], [0, 0]]
  assert grey_levels(np.array([[0.2, 1.001]]), "strict").tolist() == [[0, 1]]
