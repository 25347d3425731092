"""The watch over other processes, with a store, a clock and an exit that are those of the test."""

import contextlib
import ctypes
import io
import signal
import socket
import sys
import types

import pytest

from cfi_jax.engine.cluster import watch
from cfi_jax.engine.cluster.watch import FOLDER, GRACE, LOST_AFTER_FAILURE, SIGN_EVERY, End, Watch


class Exit(BaseException):
  """The process would have ended; the argument is its status."""


class Clock:
  """A clock on which only waiting takes time; `events` happen at their time."""

  def __init__(self):
    self.now, self.events = 1000.0, []

  def monotonic(self):
    return self.now

  def sleep(self, seconds):
    self.now += seconds
    for event in [event for event in self.events if event[0] <= self.now]:
      self.events.remove(event)
      event[1]()

  def at(self, seconds, action):
    """Lets something happen so many seconds from now."""
    self.events.append((self.now + seconds, action))


class Store(dict):
  """The entries; None answers once `silent`."""

  silent = False

  def key_value_set(self, key, value, allow_overwrite=False):
    assert allow_overwrite, "a second sign of life would be refused"
    if self.silent:
      raise RuntimeError("UNAVAILABLE")
    self[key] = value

  def key_value_dir_get(self, key):
    if self.silent:
      raise RuntimeError("UNAVAILABLE")
    return [(name, value) for name, value in self.items() if name.startswith(f"{key}/")]


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(watch, "time", clock)
  return clock


@pytest.fixture
def handlers(monkeypatch, clock):
  """Handlers for SIGABRT, kept here instead of installed in the test's own process."""
  installed = []
  library = types.SimpleNamespace(signal=lambda number, to: installed.append((number, to)))
  monkeypatch.setattr(ctypes, "CDLL", lambda name: library)

  def leave(status):
    raise Exit(status)

  monkeypatch.setattr(watch.os, "_exit", leave)
  monkeypatch.setattr(watch.socket, "gethostname", lambda: "here")
  return installed


@pytest.fixture
def make(handlers, monkeypatch):
  """A function (index, count) that gives a watch that has started, without its thread."""
  threads = []
  thread = types.SimpleNamespace(start=lambda: None)
  monkeypatch.setattr(watch.threading, "Thread", lambda **given: threads.append(given) or thread)

  def start(index, count, **options):
    made = Watch("do it again", **options)
    made.start(Store(), "first:1234", index, count)
    assert threads[-1]["target"] == made._run and threads[-1]["daemon"]
    return made

  return start


def run(made, clock, seconds):
  """The thread's work for so long, on the test's clock."""
  end = clock.now + seconds

  def wait(timeout):
    clock.sleep(timeout)
    return clock.now >= end

  stopped = made._stopped
  made._stopped = types.SimpleNamespace(
    wait=wait, set=stopped.set, is_set=lambda: stopped.is_set() or clock.now >= end
  )
  made._run()


def stderr_of(action):
  """Text that is written, and the exit status."""
  text = io.StringIO()
  with contextlib.redirect_stderr(text), pytest.raises(Exit) as exited:
    action()
  return text.getvalue(), exited.value.args[0]


def test_a_process_shows_that_it_lives_every_two_seconds(make, clock):
  made = make(1, 2)
  seen = []
  for k in range(4):
    clock.at(k * SIGN_EVERY + 1, lambda: seen.append(made._store[f"{FOLDER}/sign/1"]))
  run(made, clock, 8)
  assert seen == ["1 here", "2 here", "3 here", "4 here"]


def test_others_that_live_disturb_nothing(make, clock):
  made = make(0, 3, lost_after=6)
  for k in range(30):
    for other in (1, 2):
      clock.at(k, lambda k=k, other=other: made._store.update({f"{FOLDER}/sign/{other}": f"{k} x"}))
  run(made, clock, 30)


def test_a_lost_process_ends_this_one_which_names_it(make, clock):
  made = make(2, 3, lost_after=6)
  made._store[f"{FOLDER}/sign/0"] = "1 node0"
  made._store[f"{FOLDER}/sign/1"] = "1 node1"
  for k in range(20):
    clock.at(k, lambda k=k: made._store.update({f"{FOLDER}/sign/0": f"{k} node0"}))
  began = clock.now
  text, status = stderr_of(lambda: run(made, clock, 60))
  assert text == (
    "process 2 of 3 stops: lost process 1 of 3 (host node1): no sign of life for 8 seconds; "
    "do it again\n"
  )
  assert status == 1 and clock.now - began == 8  # the first look after more than 6 seconds
  assert f"{FOLDER}/left/2" in made._store


def test_silence_of_the_store_is_no_loss(make, clock):
  made = make(1, 3, lost_after=6)
  made._store[f"{FOLDER}/sign/2"] = "1 node2"
  clock.at(3, lambda: setattr(made._store, "silent", True))

  def answer():
    made._store.silent = False
    made._store[f"{FOLDER}/sign/2"] = "9 node2"

  clock.at(19, answer)
  run(made, clock, 25)
  assert made._looked == clock.now - SIGN_EVERY


def test_one_that_stopped_ends_the_others_with_its_status_after_a_moment(make, clock):
  made = make(1, 2)
  began = clock.now
  made._store[f"{FOLDER}/end/0"] = "2 x.png is bad"
  text, status = stderr_of(lambda: run(made, clock, 60))
  assert text == "process 1 of 2 stops: process 0 of 2 stopped: x.png is bad; do it again\n"
  assert status == 2 and GRACE <= clock.now - began < GRACE + SIGN_EVERY


def test_after_the_end_of_the_watch_processes_may_leave(make, clock, handlers):
  made = make(1, 2)
  made._store[f"{FOLDER}/end/0"] = "1 killed"
  clock.at(GRACE, made.stop)
  made._store[f"{FOLDER}/sign/0"] = "1 node0"
  run(made, clock, 60)
  number, last = handlers[-1]
  assert number == signal.SIGABRT and last is None


def test_a_stop_between_looking_and_leaving_is_heeded(make, clock):
  made = make(1, 2)
  made._store[f"{FOLDER}/end/0"] = "1 killed"
  made._others.update(made._store, clock.now - GRACE)
  looking = made._look
  made._look = lambda: looking() and (made.stop() or True)
  made._run()  # returns


def test_an_end_is_told_with_status_and_text(make):
  made = make(1, 2)
  made.announce(End(2, "x.png is bad"))
  assert made._store == {f"{FOLDER}/end/1": "2 x.png is bad"}
  other = watch.Others(0, 2)
  other.update(made._store, 5)
  assert other.known[1].end == End(2, "x.png is bad") and other.known[1].ended == 5
  other.update({f"{FOLDER}/end/1": "1 another"}, 6)  # the first one counts
  assert other.known[1].end.status == 2 and other.known[1].ended == 5
  other.update({f"{FOLDER}/left/1": ""}, 7)
  assert other.known[1].left
  other.update({f"{FOLDER}/left/0": ""}, 8)
  assert not other.known[1].left


@pytest.mark.parametrize(
  ("index", "said", "same", "waits"),
  [(0, "a", False, 0), (1, "a", True, 0.5), (1, "b", False, 0.5), (1, None, False, GRACE)],
)
def test_a_reason_that_process_0_gives_is_not_given_twice(make, clock, index, said, same, waits):
  made = make(index, 2)
  if said:
    clock.at(0.45, lambda: made._others.known[0].__setattr__("end", End(2, said)))
  began = clock.now
  assert made.said_by_first("a") is same
  assert clock.now - began == pytest.approx(waits, abs=0.11)


def test_process_0_leaves_last_but_waits_for_no_lost_one(make, clock):
  made = make(0, 3, lost_after=30)
  made._store |= {f"{FOLDER}/sign/1": "1 a", f"{FOLDER}/sign/2": "1 b"}
  made._look()
  clock.now += 28
  clock.at(1, lambda: made._store.update({f"{FOLDER}/sign/1": "2 a"}))
  clock.at(3, lambda: made._store.update({f"{FOLDER}/left/1": ""}))
  began = clock.now
  _, status = stderr_of(lambda: made.leave(7))
  assert status == 7 and clock.now - began == pytest.approx(3, abs=0.11)
  assert made._leaving.locked()


def test_process_0_waits_for_the_last_of_several(make, clock):
  made = make(0, 3, lost_after=1000)
  made._store |= {f"{FOLDER}/sign/{index}": "1 a" for index in (1, 2)}
  for seconds, index in ((0.5, 1), (1.5, 2)):
    left = {f"{FOLDER}/left/{index}": ""}
    clock.at(seconds, lambda left=left: made._store.update(left))
  began = clock.now
  stderr_of(lambda: made.leave(1))
  assert clock.now - began == pytest.approx(1.5, abs=0.11)


def test_process_0_waits_for_others_so_long_and_no_longer(make, clock):
  made = make(0, 2, lost_after=1000)
  made._store[f"{FOLDER}/sign/1"] = "1 a"
  began = clock.now
  stderr_of(lambda: made.leave(1))
  assert clock.now - began == pytest.approx(GRACE + 2 * SIGN_EVERY, abs=0.11)


def test_other_processes_leave_at_once_with_their_line_and_children(make, clock, monkeypatch):
  made, ended = make(1, 2), []
  child = types.SimpleNamespace(terminate=lambda: ended.append(1))
  monkeypatch.setattr(watch.multiprocessing, "active_children", lambda: [child, child])
  began = clock.now
  assert stderr_of(lambda: made.leave(3, "why")) == ("why\n", 3)
  assert clock.now == began and ended == [1, 1] and f"{FOLDER}/left/1" in made._store


def test_leaving_prints_nothing_without_a_line(make):
  assert stderr_of(lambda: make(1, 2).leave(130)) == ("", 130)


@pytest.mark.parametrize(("patience", "then"), [(30, LOST_AFTER_FAILURE), (3, 3)])
def test_after_a_failure_a_loss_is_waited_for_until_it_would_be_known(make, clock, patience, then):
  made, began = make(1, 2, lost_after=patience), clock.now
  made.suspect()
  assert made._patience == then
  assert clock.now - began == then + GRACE + 2 * SIGN_EVERY


@pytest.fixture
def answers(monkeypatch):
  """Whether the coordinator answers, and which addresses were asked."""
  found = types.SimpleNamespace(value=True, asked=[])
  monkeypatch.setattr(watch, "_answers", lambda a: found.asked.append(a) or found.value)
  return found


def test_an_abort_before_the_others_are_known_says_so(handlers):
  made = Watch("x")
  assert handlers == [(signal.SIGABRT, made._on_abort)]
  text, status = stderr_of(lambda: made._aborted(signal.SIGABRT))
  assert text == "error: the processes did not find each other, see above\n" and status == 1


def test_an_abort_for_an_unknown_reason_says_so(make, answers):
  made = make(1, 2)
  made._look()
  text, status = stderr_of(lambda: made._aborted(6))
  assert status == 1
  assert text == "process 1 of 2 stops: the JAX runtime aborted it, see above; do it again\n"
  assert answers.asked == ["first:1234"]


def test_an_abort_names_the_process_that_had_stopped(make, answers):
  made = make(1, 3)
  answers.value = False
  made._store |= {f"{FOLDER}/sign/2": "1 c", f"{FOLDER}/end/2": "2 bad"}
  made._look()
  assert "process 2 of 3 (host c) stopped: bad;" in made._message_of_abort()


@pytest.mark.parametrize(
  ("index", "silent", "reachable", "lost"),
  [
    (1, 0, True, False),
    (1, 0, False, True),
    (1, LOST_AFTER_FAILURE, True, False),
    (1, LOST_AFTER_FAILURE + 0.1, True, True),
    (0, LOST_AFTER_FAILURE + 0.1, False, False),  # process 0 keeps the store itself
  ],
)
def test_an_abort_names_process_0_where_its_store_is_gone(
  make, clock, answers, index, silent, reachable, lost
):
  made = make(index, 2)
  made._store[f"{FOLDER}/sign/{1 - index}"] = "1 there"
  made._look()
  clock.now += silent
  made._others.known[1 - index].changed = clock.now
  answers.value = reachable
  word = "lost process 0 of 2 (host there): first:1234 does not answer any more;"
  assert (word in made._message_of_abort()) == lost


@pytest.mark.parametrize(
  ("patience", "quiet", "lost"),
  [(30, 8, False), (30, 8.1, True), (4, 4.1, True), (4, 4, False)],
)
def test_an_abort_names_a_process_that_was_silent_of_late(
  make, clock, answers, patience, quiet, lost
):
  made = make(0, 2, lost_after=patience)
  made._store[f"{FOLDER}/sign/1"] = "1 b"
  made._look()
  clock.now += quiet
  assert ("lost process 1 of 2 (host b): no sign of life for" in made._message_of_abort()) == lost


def test_the_silence_told_of_several_lost_is_the_shortest():
  others = watch.Others(0, 3)
  others.update({f"{FOLDER}/sign/1": "1 a"}, now=0)
  others.update({f"{FOLDER}/sign/1": "1 a", f"{FOLDER}/sign/2": "1 b"}, now=10)
  assert others.verdict(50, 30, 5).text.endswith("no sign of life for 40 seconds")
  assert others.lost(30, 30) == [] and others.lost(30.1, 30) == [1]
  assert others.lost(40, 30) == [1] and others.verdict(5, 30, 5) is None


def test_whether_a_coordinator_listens():
  with socket.create_server(("localhost", 0)) as server:
    port = server.getsockname()[1]
    assert watch._answers(f"localhost:{port}")
  assert watch._answers(f"localhost:{port}", seconds=0.5) is False


def test_an_address_of_version_6_is_taken_without_its_brackets(monkeypatch):
  asked = []

  def connect(address, timeout):
    asked.append((address, timeout))
    return types.SimpleNamespace(close=lambda: None)

  monkeypatch.setattr(watch.socket, "create_connection", connect)
  assert watch._answers("[::1]:77")
  assert asked == [(("::1", 77), 2.0)]


@pytest.mark.parametrize(("terminal", "text"), [(False, "a\n"), (True, "\na\n")])
def test_a_line_comes_after_a_progress_bar(monkeypatch, terminal, text):
  stream = io.StringIO()
  stream.isatty = lambda: terminal
  monkeypatch.setattr(sys, "stderr", stream)
  watch._print("a")
  assert stream.getvalue() == text
