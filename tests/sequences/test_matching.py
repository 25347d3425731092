"""Frames of two recordings: paired by their times or refused, never by mere order."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.sequences.matching import match
from cfi_jax.sequences.recording import Timing

MS = Fraction(1, 1000)


@dataclasses.dataclass
class Known:
  title: str
  timing: Timing


def steady(title, count, rate, start=0, base=Fraction(1, 600)):
  ticks = np.array([start + round(k / (rate * base)) for k in range(count)])
  return Known(title, Timing(ticks, base))


def numbered(title, count, start=0):
  return Known(title, Timing(np.arange(start, start + count), None))


def test_equal_recordings_are_paired_one_to_one():
  """Also where clocks start elsewhere and tick otherwise."""
  found = match(steady("v", 64, 30), steady("i", 64, 30, start=40, base=MS))
  np.testing.assert_array_equal(found.visible, np.arange(64))
  np.testing.assert_array_equal(found.infrared, np.arange(64))


def test_other_rates_are_refused_without_the_flag():
  pair = steady("v", 60, 30), steady("i", 50, 25)
  with pytest.raises(InputError, match="v has 30 frames a second and i 25; --frames=nearest"):
    match(*pair)
  with pytest.raises(InputError, match="--frames=nearest"):
    match(*pair, "shortest")
  found = match(*pair, "nearest")
  times, others = found.visible / 30, found.infrared / 25
  assert np.abs(times - others).max() <= 0.5 / 25 + 1e-9
  assert len(found.visible) == 60 and found.infrared[-1] == 49


def test_rates_within_a_thousandth_are_one():
  assert len(match(steady("v", 60, 30, base=MS), steady("i", 60, 30)).visible) == 60
  with pytest.raises(InputError, match="frames a second"):
    match(steady("v", 60, 30), steady("i", 60, 30.1, base=Fraction(1, 10**6)))


def test_other_counts_are_refused_without_the_flag():
  pair = steady("v", 64, 30), steady("i", 60, 30)
  with pytest.raises(InputError, match="v has 64 frames and i 60; --frames=shortest"):
    match(*pair)
  for given in (pair, pair[::-1]):
    found = match(*given, "shortest")
    np.testing.assert_array_equal(found.visible, np.arange(60))
    np.testing.assert_array_equal(found.infrared, np.arange(60))


def test_a_frame_that_one_camera_dropped_does_not_shift_the_rest():
  ours, theirs = steady("v", 64, 30), steady("i", 64, 30)
  dropped = Known("i", Timing(np.delete(theirs.timing.ticks, 20), theirs.timing.base))
  with pytest.raises(InputError, match="frame 20 of v has none of i within half a frame"):
    match(ours, dropped, "shortest")
  found = match(ours, dropped, "nearest")
  assert set(range(64)) - set(found.visible) == {20}
  np.testing.assert_array_equal(found.infrared, np.arange(63))


def test_uneven_times_are_refused_or_the_nearest_is_taken():
  uneven = Known("v", Timing(np.array([round(k * 33.3 + 9 * (k % 3)) for k in range(64)]), MS))
  with pytest.raises(InputError, match="frames 2 and 3 of v .* of i, 3: .*--frames=nearest"):
    match(uneven, steady("i", 64, 30))
  assert len(match(uneven, steady("i", 65, 30), "nearest").visible) == 64
  two = Known("v", Timing(np.array([round(k * 33.3 + 4 * (k % 3)) for k in range(64)]), MS))
  assert len(match(two, steady("i", 64, 30)).visible) == 64


def test_an_offset_shifts_the_second_recording():
  """The infrared camera started 10 frames earlier, and has as many frames."""
  found = match(steady("v", 64, 30), steady("i", 64, 30), offset=10 / 30)
  np.testing.assert_array_equal(found.infrared, found.visible + 10)
  assert len(found.visible) == 54
  found = match(steady("v", 64, 30), steady("i", 64, 30), offset=-10 / 30)
  np.testing.assert_array_equal(found.infrared, found.visible - 10)
  with pytest.raises(InputError, match="no time in common with --offset=9"):
    match(steady("v", 64, 30), steady("i", 64, 30), offset=9.0)


def test_without_times_numbers_from_the_first_count():
  found = match(numbered("v", 12), numbered("i", 12, start=1))
  np.testing.assert_array_equal(found.infrared, np.arange(12))
  assert len(match(numbered("v", 12), steady("i", 12, 25)).visible) == 12
  with pytest.raises(InputError, match="v has 12 frames and i 11; --frames=shortest"):
    match(numbered("v", 12), steady("i", 11, 25))
  assert len(match(numbered("v", 12), steady("i", 11, 25), "shortest").visible) == 11
  for flags, word in ((("nearest",), "--frames=nearest"), (("", 0.1), "--offset=0.1")):
    with pytest.raises(InputError, match=f"{word} needs times, and v has none; --rate="):
      match(numbered("v", 12), steady("i", 12, 25), *flags)


def test_a_cut_recording_is_refused_without_the_flag():
  short = steady("i", 31, 30)
  short.timing = dataclasses.replace(short.timing, cut="is cut: 31 frames, 1.03 of 2.13 s")
  with pytest.raises(InputError, match="i is cut: 31 frames, 1.03 of 2.13 s; --frames=shortest"):
    match(steady("v", 31, 30), short)
  assert len(match(steady("v", 64, 30), short, "shortest").visible) == 31
