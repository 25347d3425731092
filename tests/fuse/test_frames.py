"""The loop over the frames of a sequence: order, words, and what is left after an error."""

import dataclasses
import itertools
import types
import warnings

import numpy as np
import pytest

from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.types import InputError
from cfi_jax.fuse import sequence, told
from cfi_jax.fuse.reading import Options, make_rules

OPTIONS = Options(gray=False, memory_mb=7, max_pixels=10_000, resize="")
MATCHED = types.SimpleNamespace(visible=np.array([1, 2, 3, 4]), infrared=np.array([0, 0, 2, 5]))


class Pool:
  """Does what is submitted when its result is asked for."""

  def __init__(self, threads, events):
    self._events = events
    events.append(f"{threads} thread")

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def submit(self, function, *arguments):
    return types.SimpleNamespace(result=lambda: function(*arguments))

  def shutdown(self, **options):
    self._events.append(options)


@pytest.fixture
def run(monkeypatch):
  """A function that gives the exit status; its `events` are what happened.

  fails: what the writer raises, by frame.
  """
  events = []

  def do(devices=1, fails=None, align=None, names=("a", "b", "c", "d", "e")):
    fails = fails or {}
    events.clear()

    def readies(*given):
      try:
        for k in range(4):
          warnings.warn(f"frame {k}", UserWarning, stacklevel=1)
          stored = np.zeros((6, 5, 1))
          yield types.SimpleNamespace(visible=types.SimpleNamespace(stored=stored), done=[k])
      finally:
        events.append("closed")

    def fuse_ready(fusing, batch, options, kinds):
      assert kinds == ["type"] * len(batch)
      events.append(f"fused {[one.done[0] for one in batch]}")
      return [one.done[0] for one in batch]

    def write(image, tick, name):
      if image in fails:
        raise fails[image]
      events.append((image, tick, name))

    class Progress:
      def __init__(self, *words):
        events.append(words)
        self.update = lambda: events.append("counted")

      def __enter__(self):
        return self

      def __exit__(self, *_):
        pass

    class Doubts(told.Doubts):
      def take(self, found):
        events.append(f"took {len(found)}")
        super().take(found)

    class Tally(list):
      def describe(self, over):
        return f"{over}: {list(self)}"

    clock = itertools.count(5, 2)
    fakes = {
      "time": types.SimpleNamespace(perf_counter=lambda: next(clock)),
      "ahead": lambda items, count: items,
      "readies": readies,
      "fuse_ready": fuse_ready,
      "Progress": Progress,
      "ThreadPoolExecutor": lambda threads: Pool(threads, events),
      "told": types.SimpleNamespace(Doubts=Doubts),
      "range_lines": types.SimpleNamespace(Tally=Tally),
      "label": str.upper,
    }
    for name, fake in fakes.items():
      monkeypatch.setattr(sequence, name, fake)
    fusing = types.SimpleNamespace(
      devices=range(devices),
      takes_valid=True,
      reserve=lambda sizes, memory_mb: events.append((sizes, memory_mb)),
    )
    writer = types.SimpleNamespace(
      type_for="type",
      write=write,
      description="lossless",
      finish=lambda: events.append("finished"),
      discard=lambda: events.append("discarded"),
    )
    recordings = [
      types.SimpleNamespace(names=names, timing=Timing(5)),
      types.SimpleNamespace(names=(), timing=Timing(7)),
    ]
    options = dataclasses.replace(OPTIONS, align=align)
    given = {"weights": "net", "output": "out.mkv"}
    return sequence._run(fusing, recordings, MATCHED, options, None, writer, given)

  do.events = events
  return do


class Timing:
  """The ticks of a recording of so many frames."""

  def __init__(self, count):
    self.ticks = 10 * np.arange(count)

  def __len__(self):
    return len(self.ticks)


def test_frames_are_written_in_order_with_their_times_and_names(run, capsys):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert run() == 0
  events = run.events
  assert events[:2] == ["1 thread", ("fusing", "frame", 4)]
  assert [event for event in events if event in ("counted", "finished", "closed")] == [
    *["counted"] * 2,
    "closed",
    *["counted"] * 2,
    "finished",
  ]
  written = [event for event in events if isinstance(event, tuple) and len(event) == 3][1:]
  assert written == [(0, 10, "b"), (1, 20, "c"), (2, 30, "d"), (3, 40, "e")]
  assert [event for event in events if isinstance(event, tuple) and len(event) == 2] == [
    ([(6, 5)], 7)
  ]
  took = [event for event in events if str(event).startswith("took")]
  assert took == ["took 1"] * 4 + ["took 0"]
  said = capsys.readouterr()
  assert said.err.splitlines() == [f"warning: frame {k}" for k in range(4)]
  assert said.out.splitlines() == [
    "sequence: [0, 1, 2, 3]",
    "note: 1 visible and 4 infrared frames have no partner: left out",
    "fused 4 frames in 2.0 s (2 frames/s) with NET: out.mkv (lossless)",
  ]


def test_without_names_frames_have_none(run):
  run(names=())
  assert (0, 10, "") in run.events


def test_two_frames_of_each_device_wait_to_be_written(run):
  run()
  order = [event for event in run.events if str(event).startswith(("fused", "(0, "))]
  assert order[:4] == ["fused [0]", "fused [1]", "fused [2]", (0, 10, "b")]
  run(devices=2)
  order = [event for event in run.events if str(event).startswith(("fused", "(0, "))]
  assert order == ["fused [0, 1]", "fused [2, 3]", (0, 10, "b")]


@pytest.mark.parametrize("frame", [0, 3])
def test_after_an_error_nothing_is_left(run, frame):
  """The reading ends, too: for the last frame it has before."""
  with pytest.raises(InputError, match="full"):
    run(fails={frame: InputError("full")})
  ends = [{"cancel_futures": True}, "discarded", "closed"]
  assert run.events[-3 if frame == 0 else -2 :] == ends[: 3 if frame == 0 else 2]
  assert "closed" in run.events and "finished" not in run.events


def test_an_interruption_says_how_many_frames_there_were_and_leaves_nothing(run, capsys):
  assert run(fails={0: KeyboardInterrupt()}) == INTERRUPTED
  assert run.events[-3:] == [{"cancel_futures": True}, "discarded", "closed"]
  said = capsys.readouterr()
  assert "interrupted after 3 of 4 frames: no file that is not whole is left" in said.err
  assert "fused 4" not in said.out


def test_what_a_rig_saw_is_said(run, capsys):
  run(align=types.SimpleNamespace(describe=lambda: "aligned by the rig"))
  assert capsys.readouterr().out.splitlines()[1] == "aligned by the rig"


def test_a_batch_is_as_large_as_there_are_devices():
  assert list(sequence._batches(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
  assert list(sequence._batches(iter(range(4)), 4)) == [[0, 1, 2, 3]]
  assert list(sequence._batches(iter([]), 2)) == []


@pytest.fixture
def recordings(monkeypatch):
  """Two recordings, and what becomes of the frames that they are read from."""
  known = np.arange(64, dtype=np.float32).reshape(8, 8, 1)
  holed, closed = known.copy(), []
  holed[:4] = np.nan

  def together(recordings, numbers):
    assert [list(own) for own in numbers] == [[1, 2, 3, 4], [0, 0, 2, 5]]
    try:
      yield known, holed
      yield holed, known
    finally:
      closed.append(True)

  monkeypatch.setattr(sequence, "together", together)
  return [types.SimpleNamespace(title=name) for name in ("v.mkv", "i.mkv")], closed


def test_frames_are_masked_where_they_have_no_value(recordings):
  both, closed = recordings
  found = sequence.readies(both, MATCHED, OPTIONS, make_rules(OPTIONS), True)
  first, second = next(found), next(found)
  assert first.visible.valid is None and first.infrared.valid.sum() == 32
  assert second.infrared.valid is None and second.visible.valid.sum() == 32
  assert not closed
  found.close()
  assert closed


def test_a_frame_without_values_is_named(recordings):
  both, closed = recordings
  found = sequence.readies(both, MATCHED, OPTIONS, make_rules(OPTIONS), False)
  with pytest.raises(InputError, match="^i.mkv: frame 0: 32 of 64 pixels have no value") as error:
    next(found)
  assert closed, error  # whose traceback holds what was not closed
