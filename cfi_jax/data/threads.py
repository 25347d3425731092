"""Work on many files at once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cfi_jax.core.progress import track


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
