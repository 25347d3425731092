"""Shares of a run's time, by a clock that the test sets."""

import types

import pytest

from cfi_jax.engine.goodput import FIELDS, KINDS, Goodput
from cfi_jax.engine.workdir import logs

CONFIG = types.SimpleNamespace(batch_size=2, log_every=1)


@pytest.fixture
def clock():
  """Seconds that pass only when the test says so."""
  return types.SimpleNamespace(now=100.0)


@pytest.fixture
def goodput(clock):
  return Goodput(lambda: clock.now)


def seconds(goodput):
  return {kind: goodput.row()[f"seconds_{kind}"] for kind in KINDS}


def spend(clock, goodput):
  """A start of 10 s: 1 to begin, 2 compiling, 5 in steps with 1 of input, 1 each for the rest."""
  clock.now += 1
  with goodput.during("compiling"):
    clock.now += 2
  with goodput.during("steps"):
    clock.now += 5
    goodput.waited(1)
    for kind in ("validating", "saving"):
      with goodput.during(kind):
        clock.now += 1


SPENT = {"steps": 4.0, "input": 1.0, "compiling": 2.0, "validating": 1.0, "saving": 1.0}
SPENT |= {"starting": 1.0, "lost": 0.0}


def test_every_second_is_of_one_kind(clock, goodput):
  spend(clock, goodput)
  assert seconds(goodput) == SPENT and set(goodput.row()) == set(FIELDS)
  assert goodput.row()["goodput"] == 0.4
  assert goodput.describe() == (
    "10 s: 40 % in steps, 10 % waiting for input, 20 % compiling, 10 % validating, 10 % saving, "
    "10 % starting, 0 % lost"
  )


def test_an_error_inside_does_not_leave_its_kind(clock, goodput):
  with pytest.raises(ValueError), goodput.during("saving"):
    clock.now += 2
    raise ValueError
  clock.now += 3
  assert seconds(goodput)["saving"] == 2 and seconds(goodput)["starting"] == 3


def test_steps_that_must_be_taken_again_are_lost(tmp_path, clock, goodput):
  """A run is killed 6 s after the step that was saved; its second start counts on."""
  spend(clock, goodput)
  with logs.Logs(tmp_path, 0) as written:
    written.write("train", 4, {"loss": 1.0} | goodput.row())
    with goodput.during("steps"):
      clock.now += 6
    written.write("train", 7, {"loss": 1.0} | goodput.row())
    written.write("validation", 7, {"loss": 1.0})
  again = Goodput(lambda: clock.now)
  spend(clock, again)
  with logs.Writer(tmp_path, CONFIG, 4, 9, again) as writer:
    chunk = types.SimpleNamespace(last=5, count=1, waited=0.0)
    with again.during("steps"):
      clock.now += 1
      writer.add(chunk, {"loss": 1.0})
      writer.flush(1)
  (kept, row) = logs.read_metrics(tmp_path / logs.METRICS_FILE)
  assert (kept["step"], row["step"]) == (4, 5)
  expected = {kind: 2 * SPENT[kind] for kind in KINDS} | {"steps": 9.0, "lost": 6.0}
  assert {kind: row[f"seconds_{kind}"] for kind in KINDS} == expected
  assert row["goodput"] == pytest.approx(9 / 27)


@pytest.mark.parametrize("some", [{}, {"goodput": 0.5}, dict.fromkeys(FIELDS[1:], 5.0)])
def test_logs_without_all_times_count_as_none(goodput, some):
  goodput.go_on([{"kind": "train", "step": 1, "loss": 1.0} | some], 2)
  assert set(seconds(goodput).values()) == {0.0} and goodput.row()["goodput"] == 0
  assert goodput.describe() == "0 s: " + ", ".join(f"0 % {words}" for words in KINDS.values())


@pytest.mark.parametrize("later", [20.0, 19.0])
def test_steps_that_took_no_time_lose_none(goodput, later):
  """The later row may be of a start that did not know of the earlier one."""
  none = dict.fromkeys(FIELDS, 0.0)
  rows = [none | {"step": 2, "seconds_steps": 20.0}, none | {"step": 4, "seconds_steps": later}]
  goodput.go_on(rows, 2)
  assert (seconds(goodput)["steps"], seconds(goodput)["lost"]) == (20.0, 0.0)


@pytest.mark.parametrize("until, steps, lost", [(0, 0, 80), (3, 10, 70), (5, 20, 60), (9, 80, 0)])
def test_the_last_row_that_counts_tells_what_earlier_starts_took(goodput, until, steps, lost):
  rows = [
    {"step": step, "goodput": 0.5} | dict.fromkeys((f"seconds_{kind}" for kind in KINDS), 0.0)
    for step in (2, 4, 6, 8)
  ]
  for row, taken in zip(rows, (10.0, 20.0, 40.0, 80.0), strict=True):
    row["seconds_steps"] = taken
  goodput.go_on(rows, until)
  assert (seconds(goodput)["steps"], seconds(goodput)["lost"]) == (steps, lost)
