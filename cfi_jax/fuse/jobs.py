"""Pairs of image files: read, fused and written, all at the same time."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fuse.computing import fuse_ready
from cfi_jax.fuse.reading import Job, Options, Ready, make_normalizer, read_ready
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.images.range_lines import Done, Tally
from cfi_jax.images.ranges import Normalizer

AHEAD = 2  # pairs that are read or written while one is computed, per device


def fuse_jobs(
  fusing: Fuser,
  jobs: Sequence[Job],
  options: Options,
  normalizer: Normalizer | None = None,
  done: list[Done] | Tally | None = None,
) -> Iterator[tuple[Job, str]]:
  """Fuses and writes; yields every job with the reason of its failure, "" for success.

  normalizer: that of `make_normalizer`, of these jobs by default. done: gets an entry for every
  image that was read. Raises `StorageError` when nothing more can be written.

  Threads read and write during the computation. Jobs are taken in the order of their buckets, so
  that pairs of different sizes share programs. Each device computes one pair at a time.
  """
  devices = len(fusing.devices)
  normalizer = make_normalizer(jobs, options) if normalizer is None else normalizer
  done = [] if done is None else done
  with _pool(2 + devices) as readers, _pool(2 + devices) as writers:
    sized = []
    for job, size in zip(jobs, readers.map(lambda j: _try(_size, j, options), jobs), strict=True):
      if isinstance(size, InputError):
        yield job, str(size)
      else:
        sized.append(dataclasses.replace(job, size=size))
    batches = _batches(fusing, sized, options.memory_mb)
    pairs_of = _ahead(
      readers,
      lambda batch: [_try(read_ready, j, options, normalizer, fusing.takes_valid) for j in batch],
      batches,
    )
    writing = collections.deque()
    for batch, pairs in zip(batches, pairs_of, strict=True):
      readable = []
      for job, pair in zip(batch, pairs, strict=True):
        if isinstance(pair, InputError):
          yield job, str(pair)
        else:
          readable.append((job, pair))
          done.extend(pair.done)
      computed = _try(_compute, fusing, readable, options)
      if isinstance(computed, InputError):
        yield from ((job, str(computed)) for job, _ in readable)
        continue
      for job, image in computed:
        writing.append((job, writers.submit(_try, pictures.write_image, job.output, image)))
      while len(writing) > AHEAD * devices:
        yield _written(*writing.popleft())
    for job, future in writing:
      yield _written(job, future)


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
  """Threads of which, after an exception, only the work under way is finished."""
  pool = ThreadPoolExecutor(threads)
  try:
    yield pool
  finally:
    pool.shutdown(cancel_futures=True)


def _batches(fusing: Fuser, jobs: list[Job], memory_mb: float | None) -> list[list[Job]]:
  """Jobs in groups of one bucket, one per device."""
  fusing.reserve([job.size for job in jobs], memory_mb=memory_mb)
  devices = len(fusing.devices)
  of_bucket = collections.defaultdict(list)
  for job in jobs:
    of_bucket[fusing.bucket(job.size)].append(job)
  return [
    members[first : first + devices]
    for _, members in sorted(of_bucket.items())
    for first in range(0, len(members), devices)
  ]


def _compute(
  fusing: Fuser, pairs: list[tuple[Job, Ready]], options: Options
) -> list[tuple[Job, np.ndarray]]:
  """Fused images of pairs that share a bucket, in the types of their files."""
  types = [functools.partial(pictures.type_for, job.output) for job, _ in pairs]
  fused = fuse_ready(fusing, [ready for _, ready in pairs], options, types)
  return [(job, image) for (job, _), image in zip(pairs, fused, strict=True)]


def _written(job: Job, future: Future) -> tuple[Job, str]:
  error = future.result()
  return job, str(error) if error else ""


def _ahead(pool: ThreadPoolExecutor, function: Callable, items: list) -> Iterator:
  """The results of a map over `items`, of which at most `AHEAD` wait."""
  waiting = collections.deque()
  for item in items:
    waiting.append(pool.submit(function, item))
    if len(waiting) > AHEAD:
      yield waiting.popleft().result()
  for future in waiting:
    yield future.result()


def _try(function: Callable, *arguments):
  """The result, or the error as a value; too little memory is one too, a full disk is none."""
  try:
    return function(*arguments)
  except InputError as error:
    return error
  except MemoryError as error:
    return InputError(f"memory does not suffice: {error}")
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return InputError(f"memory does not suffice; a smaller --memory_mb computes in tiles: {error}")


def _size(job: Job, options: Options) -> tuple[int, int]:
  with job.open("visible") as file:
    return images.inspect(file, job.label("visible"), options.max_pixels)
