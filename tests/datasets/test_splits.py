"""Groups held out as a whole, at the limits of fractions and of numbers of groups."""

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Record
from cfi_jax.datasets.splits import SPLITS, hold_out, require_fraction, require_split


def records(count):
  return [Record(f"{i:02d}", {}) for i in range(count)]


@pytest.mark.parametrize(
  ("groups", "fraction", "held"),
  [(2, 0.0, 1), (2, 0.74, 1), (10, 0.14, 1), (10, 0.16, 2), (10, 0.94, 9), (3, 0.5, 2)],
)
def test_the_nearest_number_of_groups_but_one_at_least_is_held_out(groups, fraction, held):
  kept, out = hold_out(records(groups), fraction, str, "f")
  assert len(out) == held and len(kept) == groups - held
  assert [r.name for r in kept] == sorted(r.name for r in kept)
  assert {r.name for r in (*kept, *out)} == {r.name for r in records(groups)}


@pytest.mark.parametrize(("groups", "fraction"), [(1, 0.0), (2, 0.76), (10, 0.96)])
def test_never_are_all_groups_held_out(groups, fraction):
  with pytest.raises(InputError, match=f"f={fraction} would hold out all {groups} groups"):
    hold_out(records(groups), fraction, str, "f")


def test_fractions_are_from_0_to_below_1():
  require_fraction("f", 0)
  require_fraction("f", 1 - 1e-9)
  for value in (-1e-9, 1, float("nan")):
    with pytest.raises(InputError, match=f"f={value}: must be in"):
      require_fraction("f", value)


def test_splits_are_those_that_are_offered():
  assert SPLITS == ("train", "validation", "test")
  require_split("test", "T", ("train", "test"))
  with pytest.raises(InputError, match="T has no split 'validation'; it offers train, test"):
    require_split("validation", "T", ("train", "test"))
