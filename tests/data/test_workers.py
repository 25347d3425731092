"""Processes that read ahead: which signals reach them, and when they end."""

import os
import signal
import threading
import time
import types

import grain

from cfi_jax.data import workers


def about(item):
  """This process, the signals that it blocks, and the item."""
  return os.getpid(), [int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])], item


def ends(pid):
  """Whether a process ends within a few seconds."""
  for _ in range(100):
    try:
      os.kill(pid, 0)
    except ProcessLookupError:
      return True
    time.sleep(0.05)
  return False


def test_workers_hear_no_signal_of_the_run_and_end_with_its_iterator(monkeypatch):
  before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
  ensure = workers.resource_tracker.ensure_running

  def ensure_and_unblock():  # as where it is not running yet
    ensure()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, workers.SIGNALS)

  monkeypatch.setattr(workers.resource_tracker, "ensure_running", ensure_and_unblock)
  read = workers.read_ahead(grain.MapDataset.range(50).map(about).to_iter_dataset(), 1)
  pid, blocked, first = next(read)
  assert first == 0 and pid != os.getpid() and set(workers.SIGNALS) <= set(blocked)
  assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
  os.kill(pid, signal.SIGINT)
  assert [item for _, _, item in read] == list(range(1, 50))
  assert ends(pid)


def test_a_worker_ends_with_the_process_that_started_it(monkeypatch):
  killed, ended, left = threading.Event(), threading.Event(), []
  parent = types.SimpleNamespace(join=killed.wait)
  monkeypatch.setattr(workers.multiprocessing, "parent_process", lambda: parent)
  monkeypatch.setattr(workers.os, "_exit", lambda status: left.append(status) or ended.set())
  before = set(threading.enumerate())
  workers.end_with_parent(0, 2)
  assert not ended.wait(0.05)
  (thread,) = set(threading.enumerate()) - before
  assert thread.name == "cfi_jax parent"
  assert thread.daemon
  killed.set()
  assert ended.wait(5) and left == [1]


class Elements:
  """Numbers, which somebody must close."""

  closed = False

  def __init__(self):
    self.left = iter(range(5))

  def __iter__(self):
    return self

  def __next__(self):
    return next(self.left)

  def close(self):
    self.closed = True


def test_workers_are_so_many_and_stop_when_nobody_reads_on():
  elements, asked = Elements(), []

  def prefetch(options, begin):
    asked.append((options.num_workers, begin))
    return elements

  read = workers.read_ahead(types.SimpleNamespace(mp_prefetch=prefetch), 3)
  assert next(read) == 0 and not elements.closed
  read.close()
  assert elements.closed and asked == [(3, workers.end_with_parent)]
