"""Temperatures: windows in every unit, and the units of values."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.images import temperature
from cfi_jax.images.ranges import Rule


def window(text, values):
  """Values of an image [8, 8, 1] that mean 0 and 1 by a window."""
  found = Rule.parse(f"window={text}").find(values)
  return found.low, found.high


@pytest.mark.parametrize(
  ("text", "to_stored", "ends"),
  [
    ("0C:40C", lambda k: k.astype(np.float32), (273.15, 313.15)),
    ("0C:40C", lambda k: k - 273.15, (0, 40)),
    ("273.15K:313.15K", lambda k: k - 273.15, (0, 40)),
    ("32F:104F", lambda k: k - 273.15, (0, 40)),
    ("32F:104F:F", lambda k: (k - 273.15) * 1.8 + 32, (32, 104)),
    ("0C:40C:K", lambda k: k - 100, (273.15, 313.15)),
    ("-10C:40C:cK", lambda k: (100 * k).astype(np.uint16), (26315, 31315)),
    ("0C:40C:dK", lambda k: (10 * k).astype(np.int16), (2731.5, 3131.5)),
    ("27000:31000", lambda k: (100 * k).astype(np.uint16), (27000, 31000)),
  ],
)
def test_windows_of_temperatures_are_of_the_scene_in_every_unit(text, to_stored, ends):
  kelvin = np.linspace(270, 330, 64).reshape(8, 8, 1)
  assert window(text, to_stored(kelvin)) == pytest.approx(ends)


@pytest.mark.parametrize(
  ("values", "words"),
  [
    (np.full((8, 8, 1), 29_000, np.uint16), "ir: .*integers do not say theirs; .*window=0C:40C:cK"),
    (np.full((8, 8, 1), 90, np.uint8), "integers do not say theirs"),
    (np.full((8, 8, 1), 0.5, np.float32), "values from 0 to 1; say the unit"),
  ],
)
def test_a_window_of_temperatures_is_refused_where_values_have_no_unit(values, words):
  with pytest.raises(InputError, match=words):
    Rule.parse("window=0C:40C").find(values, label="ir")


@pytest.mark.parametrize(
  ("values", "unit"),
  [([150.0, 150], "C"), ([150.5, 150.5], "K"), ([0, 1.5], "C"), ([-0.5, 0.5], "C")],
)
def test_a_median_above_150_is_of_kelvin(values, unit):
  assert temperature.unit_of(np.array(values)) == unit


def test_values_that_fill_0_to_1_are_fractions():
  with pytest.raises(InputError, match="^ir: .*values from 0 to 1"):
    temperature.unit_of(np.array([0.0, 1.0]), "ir")


def test_frost_just_above_zero_is_celsius_and_no_fraction():
  frost = np.linspace(-5, 0.5, 64, dtype=np.float32).reshape(8, 8, 1)
  assert window("-10C:40C", frost) == pytest.approx((-10, 40))


@pytest.mark.parametrize(
  "text", ["0C:40K", "0C:40", "40C:0C", "0X:40X", "0:40:C", "0C:40C:X", "C:K"]
)
def test_what_is_no_window_of_temperatures_is_refused(text):
  with pytest.raises(
    InputError, match="normalize is .*allowed: window=LOW:HIGH, .*K, C, F, dK, cK"
  ):
    Rule.parse(f"window={text}")
