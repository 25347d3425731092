"""One command as several processes: what is said and done at each kind of end; nobody connects."""

import errno
import os
import signal
import types

import jax
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine.cluster import preemption, processes
from cfi_jax.engine.cluster.flags import FLAGS
from cfi_jax.engine.cluster.processes import Place
from cfi_jax.engine.cluster.watch import End

PLACE = Place("localhost:1", 2, 1)


class FakeWatch:
  """Notes what it is told; leaving ends the test's process as SystemExit."""

  def __init__(self, first_says=False):
    self.told, self.first_says = [], first_says

  def said_by_first(self, text):
    self.told.append(("asked", text))
    return self.first_says

  def announce(self, end):
    self.told.append(("announce", end))

  def suspect(self):
    self.told.append("suspect")

  def stop(self):
    self.told.append("stop")

  def start(self, *arguments):
    self.told.append(("start", *arguments))

  def leave(self, status, line=""):
    self.told.append(("leave", status, line))
    raise SystemExit(status)


@pytest.fixture
def state(monkeypatch):
  """The state that jax.distributed would have."""
  barriers = []
  client = types.SimpleNamespace(
    wait_at_barrier=lambda name, timeout_in_ms: barriers.append((name, timeout_in_ms))
  )
  state = types.SimpleNamespace(
    client=client,
    barriers=barriers,
    coordinator_address="first:1",
    process_id=1,
    num_processes=2,
  )
  module = types.SimpleNamespace(global_state=state)
  monkeypatch.setattr(processes.multihost_utils, "distributed", module)
  return state


def run(monkeypatch, work, **options):
  """Whatever `processes.run` returns or ends with, and what the watch was told."""
  watch = FakeWatch(**options)
  given = []
  monkeypatch.setattr(processes, "_connect", lambda *arguments: given.append(arguments) or watch)
  try:
    status = processes.run(PLACE, work, "again", lost_after=9)
  except SystemExit as left:
    status = ("left", left.code)
  assert given == [(PLACE, "again", 9)]
  return status, watch.told


def fail(error):
  def work():
    raise error

  return work


def test_processes_end_together_and_then_alone(monkeypatch, state):
  assert run(monkeypatch, lambda: 7) == (7, ["stop"])
  assert state.barriers == [("cfi_jax finished", 7 * 24 * 3600 * 1000)]  # a week


@pytest.mark.parametrize(("first_says", "line"), [(False, "error: x is bad"), (True, "")])
def test_bad_input_is_announced_and_said_once(monkeypatch, state, first_says, line):
  status, told = run(monkeypatch, fail(InputError("x is bad")), first_says=first_says)
  assert status == ("left", 2) and state.barriers == []
  assert told == [("announce", End(2, "x is bad")), ("asked", "x is bad"), ("leave", 2, line)]


def test_an_interruption_is_announced(monkeypatch, state):
  status, told = run(monkeypatch, fail(KeyboardInterrupt()))
  assert status == ("left", 130)
  assert told == [("announce", End(130, "interrupted")), ("leave", 130, "")]


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (ValueError("first\nsecond"), "ValueError: first"),
    (OSError(), "OSError: "),
    # Words of an accident, but of another process: what the runtime passes on is no OSError.
    (RuntimeError("No space left on device"), "RuntimeError: No space left on device"),
  ],
)
def test_a_failure_is_announced_after_it_is_clear_that_nobody_is_lost(
  monkeypatch, state, capsys, error, text
):
  status, told = run(monkeypatch, fail(error))
  assert status == ("left", 1)
  assert told == ["suspect", ("announce", End(1, text)), ("leave", 1, "")]
  assert "Traceback" in capsys.readouterr().err


def test_an_accident_of_the_file_system_is_no_failure_of_the_program(monkeypatch, state):
  status, told = run(monkeypatch, fail(OSError(errno.ENOSPC, "full", "a.png")))
  assert status == ("left", 2)
  text = "a.png: No space left on device"
  assert told == [("announce", End(2, text)), ("leave", 2, f"error: {text}")]


@pytest.fixture
def initialised(monkeypatch, state):
  """The arguments of jax.distributed.initialize."""
  given = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda **options: given.append(options))
  monkeypatch.setattr(processes, "Watch", lambda *arguments: FakeWatch())
  return given


def test_a_place_is_what_jax_is_told(initialised, state):
  watch = processes._connect(PLACE, "again", 9)
  assert watch.told == [("start", state.client, "first:1", 1, 2)]
  assert initialised == [
    {
      "heartbeat_timeout_seconds": 45,
      "coordinator_address": "localhost:1",
      "num_processes": 2,
      "process_id": 1,
      "cluster_detection_method": "deactivate",
    }
  ]


def test_with_auto_all_is_left_to_jax(initialised):
  processes._connect(Place("auto"), "again", 9)
  assert initialised == [{"heartbeat_timeout_seconds": 45}]


def test_only_what_jax_cannot_detect_is_bad_input(initialised, monkeypatch):
  monkeypatch.setattr(jax.distributed, "initialize", lambda **options: int("no"))
  with pytest.raises(InputError, match="JAX detects nothing it knows here"):
    processes._connect(Place("auto"), "again", 9)
  with pytest.raises(ValueError, match="invalid literal"):
    processes._connect(PLACE, "again", 9)


def flags(**given):
  return dict.fromkeys(FLAGS) | given


def test_flags_give_a_place_or_none():
  assert processes.from_flags(flags()) is None
  assert processes.from_flags(flags(coordinator="auto")) == Place("auto")
  given = flags(coordinator="a:1", processes=1, process=0)
  assert processes.from_flags(given) == Place("a:1", 1, 0)
  for name in ("processes", "process"):  # 0 is a number too
    with pytest.raises(InputError, match=f"--{name} is given without --coordinator"):
      processes.from_flags(flags(**{name: 0}))


@pytest.mark.parametrize("place", [("a:1", 1, 0), ("a:1", 2, 1), ("[::1]:65535", 2, 0), ("auto",)])
def test_places_at_the_limits(place):
  assert Place(*place).coordinator == place[0]


@pytest.mark.parametrize(
  ("place", "text"),
  [
    (("auto", None, 0), "--coordinator=auto is given with --process,"),
    (("a:1",), "without --processes, --process;"),
    (("a:b", 2, 0), "allowed: HOST:PORT"),
    (("a:", 2, 0), "allowed: HOST:PORT"),
    (("a:1", 0, 0), "--process=0 --processes=0"),
  ],
)
def test_places_beyond_the_limits(place, text):
  with pytest.raises(InputError, match=text):
    Place(*place)


def test_a_request_to_stop_is_that_of_this_process_or_of_another(monkeypatch):
  asked, point = [], types.SimpleNamespace(reached=False)

  def reached(step):
    asked.append(step)
    return point.reached

  monkeypatch.setattr(preemption.multihost_utils, "reached_preemption_sync_point", reached)
  before = preemption.signal.getsignal(preemption.signal.SIGTERM)
  with preemption.Preemption() as own:
    assert not own.reached(1)
    point.reached = True
    assert own.reached(2)
    point.reached = False
    assert not own.reached(3)
    preemption.signal.raise_signal(preemption.signal.SIGTERM)
    assert own.reached(4)
  assert asked == [1, 2, 3]
  assert preemption.signal.getsignal(preemption.signal.SIGTERM) == before


def test_with_several_processes_the_signal_is_left_to_jax(monkeypatch):
  monkeypatch.setattr(preemption.jax, "process_count", lambda: 2)
  before = preemption.signal.getsignal(preemption.signal.SIGTERM)
  with preemption.Preemption():
    assert preemption.signal.getsignal(preemption.signal.SIGTERM) == before


@pytest.mark.parametrize(("count", "handed"), [(1, []), (2, [signal.SIGTERM])])
def test_among_several_processes_all_signals_become_the_one_that_jax_hears(
  monkeypatch, capfd, count, handed
):
  killed = []
  monkeypatch.setattr(preemption.os, "kill", lambda pid, number: killed.append((pid, number)))
  monkeypatch.setattr(preemption.jax, "process_count", lambda: count)
  monkeypatch.setattr(
    preemption.multihost_utils, "reached_preemption_sync_point", lambda asked: False
  )
  own = preemption.Preemption()
  own.begin()
  own._request(signal.SIGINT, None)
  assert own.asked_by == "SIGINT" and killed == [(os.getpid(), number) for number in handed]
  assert capfd.readouterr().err == "SIGINT: saving after this step; once more stops at once\n"
  assert own.reached(1) is (count == 1)  # several agree on a step
  own._request(signal.SIGHUP, None)
  assert own.asked_by == "SIGINT" and capfd.readouterr().err == ""
  with pytest.raises(KeyboardInterrupt):
    own._request(signal.SIGINT, None)
