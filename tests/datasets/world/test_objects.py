"""Contrast-to-noise of objects in pictures whose answer is known."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.objects import ROUNDING, ObjectOptions, contrast_to_noise

SIDE = 40
OPTIONS = ObjectOptions(threshold=1.0, gap=1, width=4)


def label(*boxes):
  """Labels [1, SIDE, SIDE, 1]: box k, (top, left, height, width), is object k + 1."""
  objects = np.zeros((1, SIDE, SIDE, 1), np.int32)
  for k, (top, left, height, width) in enumerate(boxes, start=1):
    objects[0, top : top + height, left : left + width] = k
  return objects


def ratios(image, objects, slots=2, options=OPTIONS):
  return np.asarray(contrast_to_noise(image, objects, slots, options))[0]


@pytest.fixture
def checkered():
  """A background that alternates between 0.4 and 0.6: mean 0.5, standard deviation 0.1."""
  y, x = np.mgrid[:SIDE, :SIDE]
  return (0.5 + 0.1 * (-1.0) ** (x + y)).astype(np.float32)[None, ..., None]


def test_contrast_over_the_rings_deviation(checkered):
  objects = label((10, 10, 6, 8))
  for level, expected in ((0.9, 4), (0.3, 2), (0.5, 0)):
    image = np.where(objects == 1, np.float32(level), checkered)
    found = ratios(image, objects)
    assert found[0] == pytest.approx(expected, abs=1e-2)
    assert np.isnan(found[1])  # an empty slot


def test_the_ring_leaves_out_other_objects_and_both_gaps(checkered):
  objects = label((10, 10, 6, 6), (10, 18, 6, 6))
  image = np.where(objects == 1, np.float32(0.9), checkered)
  clean = ratios(image, objects)
  # One pixel around each object belongs to no ring, nor does the other object.
  spoilt = image.copy()
  spoilt[0, 9:17, 17:25] = 1.0
  spoilt[0, 9:17, 9:17] = np.where(objects[0, 9:17, 9:17] == 1, spoilt[0, 9:17, 9:17], 0.0)
  assert ratios(spoilt, objects)[0] == pytest.approx(clean[0], rel=1e-5)
  # Two to five pixels from it are its ring.
  for row, counts in ((8, True), (5, True), (4, False)):
    other = image.copy()
    other[0, row, 10:16] = 0.0
    assert (abs(ratios(other, objects)[0] - clean[0]) > 0.05) == counts


def test_quiet_surroundings_are_as_quiet_as_eight_bits_allow():
  objects = label((10, 10, 6, 6))
  image = np.where(objects == 1, np.float32(0.51), np.float32(0.5))
  assert ratios(image, objects)[0] == pytest.approx(0.01 / ROUNDING, rel=1e-3)
  assert ratios(np.full_like(image, 0.5), objects)[0] == pytest.approx(0, abs=1e-3)


def test_an_object_without_surroundings_is_not_judged(checkered):
  assert np.isnan(ratios(checkered, label((0, 0, SIDE, SIDE)))[0])
  assert np.isnan(ratios(checkered, label((0, 0, SIDE, SIDE - 1)))[0])  # one column: the gap
  for side, judged in ((4, False), (5, True)):  # of a free corner; less the gap, 9 and 16 pixels
    objects = label((0, 0, SIDE, SIDE))
    objects[0, -side:, -side:] = 0
    assert np.isfinite(ratios(checkered, objects)[0]) == judged


def test_objects_at_the_border_have_the_part_of_the_ring_that_is_there(checkered):
  objects = label((0, 0, 5, 5))
  image = np.where(objects == 1, np.float32(0.9), checkered)
  assert ratios(image, objects)[0] == pytest.approx(4, rel=0.02)


def test_an_average_of_opposite_contrasts_shows_nothing(checkered):
  objects = label((10, 10, 6, 8))
  bright, dark = (np.where(objects == 1, np.float32(x), checkered) for x in (0.8, 0.2))
  assert ratios(bright, objects)[0] > 2 and ratios(dark, objects)[0] > 2
  assert ratios((bright + dark) / 2, objects)[0] < 0.05


@pytest.mark.parametrize(
  ("field", "value"), [("threshold", -1.0), ("threshold", float("nan")), ("gap", -1), ("width", 0)]
)
def test_bad_options_are_named(field, value):
  with pytest.raises(InputError, match=f"objects.{field} is {value}; allowed"):
    ObjectOptions(**{"threshold": 1.0, "gap": 1, "width": 4} | {field: value})
