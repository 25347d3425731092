"""Processes that read ahead of a run: they end with it, and hear none of its signals."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import grain
from absl import flags

# Signals that a terminal or a scheduler sends to all processes: the run alone answers them.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def read_ahead(stream: grain.IterDataset, count: int) -> Iterator[Any]:
  """Yields the elements of a stream in their order, made by `count` processes.

  They are started with `SIGNALS` blocked, and stopped when the iterator is closed or collected.
  """
  if not flags.FLAGS.is_parsed():  # Grain reads absl flags; a notebook or a test parsed none
    flags.FLAGS.mark_as_parsed()
  stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=count), end_with_parent)
  before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which new processes inherit
  try:
    resource_tracker.ensure_running()  # a process, too; unblocks some of them here
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    elements = iter(stream)
    first = list(itertools.islice(elements, 1))  # starts all workers
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
  try:
    yield from first
    yield from elements
  finally:
    elements.close()


def end_with_parent(index: int = 0, count: int = 1) -> None:
  """Ends this process, worker `index` of `count`, with the one that started it, killed or not."""
  del index, count
  if parent := multiprocessing.parent_process():
    threading.Thread(target=_end_after, args=(parent,), name="cfi_jax parent", daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
  parent.join()
  os._exit(1)
