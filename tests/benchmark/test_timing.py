"""Turns, medians and ratios."""

import pytest

from cfi_jax.benchmark.harness import timing


def test_spread():
  assert timing.spread([3.0, 1.0, 2.0, 5.0, 4.0]) == timing.Spread(3.0, 2.0, 4.0, 5)
  assert timing.spread([2.0]) == timing.Spread(2.0, 2.0, 2.0, 1)


def test_turns_alternate():
  asked = []

  def measure(name):
    asked.append(name)
    return float(len(asked))

  seconds = timing.take_turns({n: lambda n=n: measure(n) for n in "ab"}, 3)
  assert asked == list("ababab")
  assert seconds == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}


def test_speedup_of_paired_turns_ignores_what_disturbs_both():
  slow, fast = [2.0, 20.0, 4.0], [1.0, 10.0, 4.0]
  assert timing.speedup(slow, fast, paired=True) == 2.0
  assert timing.speedup(slow, fast, paired=False) == pytest.approx(1.0)
