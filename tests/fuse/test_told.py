"""Warnings of many pairs: the first of a kind with a number, each other one once."""

import warnings

import pytest

from cfi_jax.fuse.told import Doubts
from cfi_jax.fusion.inputs import ColouredWarning, OutsideWarning, SwappedWarning


@pytest.mark.parametrize(("count", "more"), [(1, ""), (2, " (and 1 more such pairs)")])
def test_doubtful_pairs_are_counted_and_other_words_said_once(count, more, capsys):
  doubts = Doubts()
  for k in range(count):
    with warnings.catch_warnings(record=True) as found:
      warnings.simplefilter("always")
      for text in ("other", "other", "another"):
        warnings.warn(text, UserWarning, stacklevel=1)
      warnings.warn(f"coloured {k}", ColouredWarning, stacklevel=1)
      warnings.warn(f"outside {k}", OutsideWarning, stacklevel=1)
      warnings.warn(f"swapped {k}", SwappedWarning, stacklevel=1)
    doubts.take(found)
    assert found == []
  doubts.tell()
  assert capsys.readouterr().err.splitlines() == [
    f"warning: swapped 0{more}",
    f"warning: coloured 0{more}",
    f"warning: outside 0{more}",
    "warning: other",
    "warning: another",
  ]


def test_nothing_is_said_of_nothing(capsys):
  Doubts().tell()
  assert capsys.readouterr().err == ""
