"""Lines on ranges: how many images, which values mean 0 and 1, what is missing or unused."""

import numpy as np
import pytest

from cfi_jax.images import range_lines, ranges
from cfi_jax.images.ranges import Rule


def counts(low, high, dtype):
  return (low + np.linspace(0, 1, 10_001)[:, None, None] * (high - low)).astype(dtype)


@pytest.mark.parametrize(
  ("value", "text"),
  [(1_234_567, "1234567"), (1e9, "1000000000"), (1.05e9, "1.05e+09"), (-2e9, "-2e+09")]
  + [(0.1234567, "0.123457"), (-3.0, "-3")],
)
def test_whole_numbers_are_said_without_a_point_up_to_a_thousand_million(value, text):
  assert ranges.number_text(value) == text


def test_one_line_says_what_was_done_to_how_many():
  rule, eight, narrow = Rule(), counts(0, 255, np.uint8), counts(29_315, 30_815, np.uint16)
  kelvin = np.concatenate([counts(293.15, 308.15, np.float32), [[[np.nan]]] * 3])
  done = [("visible", eight.dtype, rule.find(eight))] * 2
  done += [("infrared", i.dtype, rule.find(i)) for i in (narrow, narrow + 100, kelvin)]
  assert range_lines.describe(done, "folder") == (
    "values: visible: 2 of 8 bits, 0..255 taken as 0..1; infrared: 2 of 16 bits, "
    "29330..30900 stretched to 0..1 (percentiles 1 and 99 of the folder), 1 of "
    "floating-point 64 bits, 293.3..308 stretched to 0..1 (percentiles 1 and 99 of the folder), "
    "3 pixels without a value"
  )
  window = Rule.parse("window=-20:40").find(kelvin)
  assert range_lines.describe([("a", kelvin.dtype, window)]).startswith(
    "values: a: 1 of floating-point 64 bits, -20..40 taken as 0..1"
  )


@pytest.mark.parametrize(("top", "hint"), [(16_383, "normalize=bits=14"), (16_384, None)])
def test_the_line_names_bits_that_no_value_uses(top, hint):
  image = counts(0, top, np.uint16)
  line = range_lines.describe([("visible", image.dtype, Rule().find(image))])
  assert "0..65535 taken as 0..1" in line
  assert (hint in line) if hint else "normalize" not in line


def test_no_bits_are_named_for_black_images_and_for_floats():
  for image in (np.zeros((8, 8, 1), np.uint16), np.full((8, 8, 1), 0.125, np.float32)):
    line = range_lines.describe([("visible", image.dtype, Rule("full").find(image))])
    assert line.endswith("taken as 0..1")


def test_the_line_names_a_value_that_does_not_count_and_images_outside():
  image = counts(29_315, 30_815, np.uint16)
  image[:500], image[500] = 0, 20
  line = range_lines.describe([("a", image.dtype, Rule().find(image))])
  assert line.endswith("(percentiles 1 and 99 of the image, but for pixels of 0)")
  image[-20:] = 65_535
  line = range_lines.describe([("a", image.dtype, Rule().find(image))])
  assert line.endswith("(percentiles 1 and 99 of the image, but for pixels of 0 and 65535)")
  found = [Rule.parse("window=0:40").find(image[k:]) for k in (0, 600, 700)]
  line = range_lines.describe([("a", image.dtype, x) for x in found])
  assert line.endswith("0..40 taken as 0..1, between which 2 of them have no value")
  types = [("a", np.dtype(np.uint16))]
  line = range_lines.describe_types(types, ranges.parse("window=5:40"), "image")
  assert line.endswith("0..1")


def test_a_tally_is_true_after_an_image():
  tally = range_lines.Tally()
  assert not tally and tally.describe() == "values: no image"
  tally.extend([("a", np.dtype(np.uint8), Rule().find(np.zeros((8, 8, 1), np.uint8)))])
  assert tally


def test_the_line_before_files_are_read_tells_a_range_that_is_known():
  known = ranges.Range(5, 9, "percentile", (4, 10), missing=3)
  normalizer = ranges.Normalizer(ranges={("ir", "uint16"): known})
  assert range_lines.describe_types([("ir", np.dtype(np.uint16))], normalizer, "folder") == (
    "values: ir: 1 of 16 bits, 5..9 stretched to 0..1 (percentiles 1 and 99 of the folder)"
  )


def test_the_line_before_files_are_read():
  types = [("visible", np.dtype(np.uint8))] * 3 + [("infrared", np.dtype(np.uint16))] * 2
  assert range_lines.describe_types(types, ranges.parse("auto"), "image") == (
    "values: visible: 3 of 8 bits, 0..255 taken as 0..1; "
    "infrared: 2 of 16 bits, each by the rule auto"
  )
  assert "infrared: 2 of 16 bits, 0..4095 taken as 0..1" in range_lines.describe_types(
    types, ranges.parse("infrared:bits=12"), "image"
  )
