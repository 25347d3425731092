"""Contenders that fail, differ or end, and the order in which the others are asked."""

import types

import numpy as np
import pytest

from cfi_jax.benchmark.harness import compare, contenders
from cfi_jax.benchmark.harness.contenders import ContenderError
from cfi_jax.benchmark.harness.spec import Spec

FACTS = {
  "flops": 6.0, "bytes": 3.0, "device_peak_mb": None, "program_mb": None, "compile_seconds": 1.0,
  "repeats": 1,
}  # fmt: skip


class Player:
  """A contender whose name says what it does."""

  log: list[str] = []

  def __init__(self, spec):
    self.name = spec.name
    self.log.append(f"{self.name} starts")
    if "missing" in self.name:
      raise ContenderError("out of memory")

  def output(self):
    return {"x": np.array(2.0 if "wrong" in self.name else 1.0)}

  def warm(self):
    if "heavy" in self.name:
      raise ContenderError("too heavy")

  def seconds(self):
    self.log.append(self.name)
    return 1.0 if "fast" in self.name else 3.0

  def facts(self):
    return FACTS | {"peak_mb": 5.0, "growth_mb": 2.0}

  def close(self):
    self.log.append(f"{self.name} ends")


def run(monkeypatch, names, sequential=False):
  monkeypatch.setattr(compare, "Local", Player)
  Player.log = []
  specs = [Spec("fuse", name, "", "float32", False) for name in names]
  options = types.SimpleNamespace(in_process=True, sequential=sequential, turns=2)
  outcomes = compare.compare(
    specs, options, lambda a, b: float(abs(a["x"] - b["x"])), lambda *_: 0.5
  )
  return compare.rows(outcomes, options, samples=4, floor_seconds=0.5)


def test_turns_are_paired(monkeypatch):
  rows = run(monkeypatch, ["slow", "fast"])
  assert Player.log[2:6] == ["slow", "fast", "slow", "fast"]
  assert rows[1].speedup == 3.0 and rows[1].per_second(rows[1].samples) == 4.0
  assert rows[1].to_json()["times_floor"] == 2.0


def test_sequential_ends_one_before_the_next_starts(monkeypatch):
  rows = run(monkeypatch, ["slow", "fast"], sequential=True)
  assert Player.log == [
    "slow starts", "slow", "slow", "slow ends", "fast starts", "fast", "fast", "fast ends",
  ]  # fmt: skip
  assert rows[1].speedup == 3.0


def test_a_failure_is_a_row_and_the_others_go_on(monkeypatch):
  rows = run(monkeypatch, ["missing", "slow", "heavy", "fast"])
  assert [row.failure for row in rows] == ["out of memory", None, "too heavy", None]
  assert rows[1].speedup == 1.0 and rows[3].speedup == 3.0  # the first that ran is the reference
  assert "heavy ends" in Player.log


def test_unequal_results_stop_everything(monkeypatch):
  with pytest.raises(compare.UnequalError, match="wrong differs from slow by 1.00e"):
    run(monkeypatch, ["slow", "wrong"])
  assert Player.log[-2:] == ["slow ends", "wrong ends"]


def test_what_a_process_cannot_do_is_told(monkeypatch):
  """The answers of a contender's process, without starting one."""
  import io

  process = object.__new__(contenders.Process)

  class Child:
    stdin = io.StringIO()

    def wait(self):
      return -9

  process._process = Child()
  for text, reason in (
    ('noise\nanswer {"error": "XlaRuntimeError: out of memory"}\n', "out of memory"),
    ("noise only\n", "status -9"),
  ):
    process._process.stdout = io.StringIO(text)
    with pytest.raises(ContenderError, match=reason):
      process.seconds()
  process._process.stdout = io.StringIO('answer {"value": 0.5}\n')
  assert process.seconds() == 0.5
