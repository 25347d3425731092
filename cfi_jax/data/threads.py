"""Work on many files at once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tqdm


def each(function: Callable[[Any], Any], items: Sequence[Any], title: str, unit: str) -> list[Any]:
  """Applies a function to every item in threads, with a progress bar after two seconds.

  After an exception, which is raised, no further item is begun.
  """
  pool = ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1)))
  try:
    results = pool.map(function, items)
    return list(tqdm.tqdm(results, title, len(items), unit=unit, delay=2, disable=None))
  finally:
    pool.shutdown(cancel_futures=True)
