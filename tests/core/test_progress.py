"""Progress: lines where stderr is no terminal, now and then and with the time left."""

import io
import sys
import types

import pytest

from cfi_jax.core import progress
from cfi_jax.core.progress import Progress, duration, track


class Clock:
  """Seconds that a test lets pass."""

  def __init__(self, monkeypatch):
    self.now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
  return Clock(monkeypatch)


def test_lines_come_now_and_then_with_speed_and_time_left(clock, capsys):
  with Progress("fusing", "pair", 100) as told:
    for _ in range(45):
      clock.now += 1
      told.update()
  assert capsys.readouterr().err.splitlines() == [
    "fusing: 10 of 100 pairs (10 %), 1 pairs/s, 1 min 30 s left",
    "fusing: 40 of 100 pairs (40 %), 1 pairs/s, 1 min 0 s left",
  ]


def test_what_an_earlier_run_did_is_counted_and_not_timed(clock, capsys):
  with Progress("training", "step", 100, done=60) as told:
    told.note("loss 0.5")
    clock.now += 20
    told.update(20)
    told.note("loss 0.4")
    clock.now += 30
    told.update(10)
  assert capsys.readouterr().err.splitlines() == [
    "training: 80 of 100 steps (80 %), 1 steps/s, 20 s left, loss 0.5",
    "training: 90 of 100 steps (90 %), 0.6 steps/s, 17 s left, loss 0.4",
  ]


def test_short_work_and_work_that_others_tell_of_say_nothing(clock, capsys):
  for _ in track(range(9), "reading", "file"):
    clock.now += 1
  with Progress("fusing", "pair", 9, shown=False) as told:
    clock.now += 100
    told.update(9)
  assert capsys.readouterr() == ("", "")


def test_items_are_counted_as_they_are_done(clock, capsys):
  for item in track(iter(range(3)), "reading", "file"):
    clock.now += 7
    assert item < 3
  assert capsys.readouterr().err == "reading: 2 files, 0.143 files/s\n"
  for _ in track([1, 2], "reading", "file"):
    clock.now += 10
  assert capsys.readouterr().err == "reading: 1 of 2 files (50 %), 0.1 files/s, 10 s left\n"


def test_a_line_of_no_work_and_of_work_that_does_not_move(clock):
  for total, text in ((0, "0 of 0 files (0 %), 0 files/s"), (4, "0 of 4 files (0 %), 0 files/s")):
    told = Progress("reading", "file", total)
    clock.now += 1
    assert told._line() == f"reading: {text}"
  told = Progress("reading", "file", 8, done=2)
  clock.now += 4
  told.note("loss 0.5")
  told.update(2)
  assert told._line() == "reading: 4 of 8 files (50 %), 0.5 files/s, 8 s left, loss 0.5"


def test_a_terminal_gets_a_bar(monkeypatch):
  class Terminal(io.StringIO):
    def isatty(self):
      return True

  monkeypatch.setattr(sys, "stderr", Terminal())
  monkeypatch.setattr(progress, "DELAY", 0)
  with Progress("training", "step", 4, done=2) as told:
    told.note("loss 0.5")
    told.update(2)
  drawn = sys.stderr.getvalue()
  assert "training:  50%" in drawn and "training: 100%" in drawn and "loss 0.5" in drawn


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.4, "0 s"),
    (59.6, "1 min 0 s"),
    (61, "1 min 1 s"),
    (3599, "59 min 59 s"),
    (7260, "2 h 1 min"),
  ],
)
def test_durations(seconds, text):
  assert duration(seconds) == text


def test_a_bar_is_told_what_is_done_and_is_closed(monkeypatch):
  told = []

  class Bar:
    def __init__(self, **given):
      told.append(given)

    def update(self, count):
      told.append(count)

    def set_postfix_str(self, text, refresh):
      told.append((text, refresh))

    def close(self):
      told.append("closed")

  monkeypatch.setattr(progress.tqdm, "tqdm", Bar)
  monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
  with Progress("training", "step", 4, done=2) as bar:
    bar.note("loss 0.5")
    bar.update()
  with Progress("training", "step", 4, shown=False):
    pass
  assert told == [
    {"desc": "training", "total": 4, "initial": 2, "unit": "step", "delay": 2, "mininterval": 0.5},
    *(("loss 0.5", False), 1, "closed"),
  ]  # fmt: skip


def test_a_number_that_is_given_counts_and_one_is_a_number(clock, capsys):
  for _ in track([1, 2], "reading", "file", total=1):
    clock.now += 10
  assert capsys.readouterr().err.startswith("reading: 1 of 1 files (100 %), 0.1 files/s, 0 s left")
