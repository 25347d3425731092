"""Work on many files at once, and items that a thread takes ahead."""

import threading
import time

import pytest

from cfi_jax.data import threads
from cfi_jax.data.threads import ahead, each


def test_results_are_in_the_order_of_the_items(monkeypatch):
  told = []
  monkeypatch.setattr(threads, "track", lambda *given: told.append(given[1:]) or given[0])
  assert each(lambda x: 2 * x, [3, 1, 2], "reading", "file") == [6, 2, 4]
  assert told == [("reading", "file", 3)]


@pytest.mark.parametrize(("processors", "count"), [(None, 2), (1, 2), (3, 6), (8, 16), (9, 16)])
def test_there_are_two_threads_a_processor_and_at_most_16(monkeypatch, processors, count):
  asked, pool = [], threads.ThreadPoolExecutor
  monkeypatch.setattr(threads.os, "cpu_count", lambda: processors)
  monkeypatch.setattr(threads, "ThreadPoolExecutor", lambda n: asked.append(n) or pool(1))
  assert each(str, [1], "a", "b") == ["1"] and asked == [count]


def test_after_an_error_nothing_more_is_begun(monkeypatch):
  monkeypatch.setattr(threads.os, "cpu_count", lambda: 1)
  begun = []

  def work(number):
    if number == 0:
      raise ValueError("broken")
    begun.append(number)
    time.sleep(0.01)

  with pytest.raises(ValueError, match="broken"):
    each(work, range(80), "reading", "file")
  assert len(begun) < 79


def test_after_an_interruption_nothing_more_is_begun(monkeypatch):
  begun, ended = [], threading.Event()

  class Pool(threads.ThreadPoolExecutor):
    def shutdown(self, wait=True, *, cancel_futures=False):
      super().shutdown(wait=False, cancel_futures=cancel_futures)
      ended.set()
      super().shutdown(wait)

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(threads.os, "cpu_count", lambda: 1)
  monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)
  monkeypatch.setattr(threads, "track", interrupt)
  with pytest.raises(KeyboardInterrupt):
    each(lambda number: begun.append(number) or ended.wait(5), range(80), "reading", "file")
  assert len(begun) <= 2


class Source:
  """Numbers up to a limit; notes how many were taken, by which thread, and that it was closed."""

  def __init__(self, stop, error=None):
    self.stop, self.error, self.taken, self.closed, self.threads = stop, error, 0, False, set()

  def __iter__(self):
    return self

  def __next__(self):
    self.threads.add(threading.current_thread())
    if self.taken == self.stop:
      raise self.error or StopIteration
    self.taken += 1
    return self.taken

  def close(self):
    time.sleep(0.05)
    self.closed = True


def wait_for(condition):
  """Whether something becomes true within a few seconds."""
  return any(condition() or time.sleep(0.01) for _ in range(500))


def test_items_come_in_their_order_from_a_thread_that_ends():
  source = Source(5)
  assert list(ahead(source, 2)) == [1, 2, 3, 4, 5] and source.closed
  (thread,) = source.threads
  assert thread is not threading.current_thread() and thread.daemon and not thread.is_alive()
  assert list(ahead(iter("ab"), 1)) == ["a", "b"]  # which nobody can close


def test_no_more_than_so_many_are_taken_ahead():
  source = Source(50)
  items = ahead(source, 2)
  assert next(items) == 1
  assert wait_for(lambda: source.taken == 4)  # two that wait, and one in hand
  time.sleep(0.05)
  assert source.taken == 4 and not source.closed
  items.close()
  assert source.closed and not any(thread.is_alive() for thread in source.threads)


def test_an_error_comes_where_its_item_would():
  source = Source(2, ValueError("broken"))
  items = ahead(source, 5)
  assert [next(items), next(items)] == [1, 2]
  with pytest.raises(ValueError, match="broken"):
    next(items)
  assert source.closed
