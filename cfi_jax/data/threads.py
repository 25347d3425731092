"""Work on many files at once."""

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cfi_jax.core.progress import track

T = TypeVar("T")


def each(function: Callable[[Any], Any], items: Sequence[Any], title: str, unit: str) -> list[Any]:
  """Applies a function to every item in threads, and tells of the progress.

  After an exception, which is raised, no further item is begun.
  """
  pool = ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1)))
  try:
    results = pool.map(function, items)
    return list(track(results, title, unit, len(items)))
  finally:
    pool.shutdown(cancel_futures=True)


def ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
  """Yields the items, which a thread takes in order, at most `count` of them before they are asked.

  What they raise is raised here. Closing ends the thread and closes the items.
  """
  found: queue.Queue[tuple[bool, Any]] = queue.Queue(count)
  ended = threading.Event()

  def put(is_item: bool, value: Any) -> bool:
    while not ended.is_set():
      try:
        found.put((is_item, value), timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def work() -> None:
    try:
      for item in items:
        if not put(True, item):
          break
      else:
        put(False, None)
    except BaseException as error:  # raised where the item is asked for
      put(False, error)
    finally:
      close = getattr(items, "close", None)
      if close is not None:
        close()

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      is_item, value = found.get()
      if is_item:
        yield value
      elif value is not None:
        raise value
      else:
        return
  finally:
    ended.set()
    thread.join()
