"""Pairs of image files: found, read, fused and written, all at the same time."""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data import matching
from cfi_jax.data.listing import enumerate_problems, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.data.pairs import find_pairs, require_alike
from cfi_jax.fuse import aligned
from cfi_jax.fuse.reading import Done, Job, Options, Ready, make_normalizer, read_ready
from cfi_jax.fusion import masks
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.images.ranges import Normalizer

AHEAD = 2  # pairs that are read or written while one is computed, per device


@dataclasses.dataclass(frozen=True)
class Found:
  """The pairs to fuse; sentences on names that are no pairs; images and the like left out."""

  jobs: list[Job]
  problems: list[str]
  left_out: list[str]


def find_jobs(
  visible: pathlib.Path,
  infrared: pathlib.Path,
  output: str | os.PathLike,
  extension: str,
  naming: Naming = PLAIN,
  valid: Mapping[str, pathlib.Path] | None = None,
) -> Found:
  """Finds the pairs of two files, or of two folders and those below them.

  valid: by modality a mask for all of its images, or a folder of masks that are named as they are.
  output: for two files a file, whose extension may be left out, or a folder: one that exists or
    ends with a slash. For two folders a folder; it gets the folders below them, too.
  """
  require_alike(visible, infrared)
  valid = {} if valid is None else valid
  for path in valid.values():
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  pictures.check_extension(extension)
  if not visible.is_dir():
    output = _output_file(visible, output, extension)
    if output.resolve() in (visible.resolve(), infrared.resolve()):
      raise InputError(f"--output={output} is one of the images themselves")
    for image, path in valid.items():
      if path.is_dir() or output.resolve() == path.resolve():
        what = "a folder; two files need a file" if path.is_dir() else "the output, too"
        raise InputError(f"--{image}_valid={path} is {what}")
    (pair,) = find_pairs(visible, infrared).pairs
    return Found([Job(visible.name, pair.visible, pair.infrared, output, valid=valid)], [], [])
  found = find_pairs(visible, infrared, naming)
  output = pathlib.Path(output)
  if output.is_file():
    raise InputError(f"--output={output} is a file; two folders need a folder")
  for image, folder in (("visible", visible), ("infrared", infrared)):
    results = [pair.name + extension for pair in found.pairs]
    taken = any(naming.name(image, result) is not None for result in results)
    if taken and output.resolve().is_relative_to(folder.resolve()):
      raise InputError(
        f"--output={output} is a folder of the images themselves, or inside one: results would be "
        f"taken for {image} images the next time; choose another folder"
      )
  jobs = [Job(p.name, p.visible, p.infrared, output / (p.name + extension)) for p in found.pairs]
  jobs, lacking = _with_masks(jobs, valid, output, naming)
  problems = [*found.problems, *lacking]
  if not jobs:
    raise InputError(enumerate_problems("there is no pair with its masks", problems))
  return Found(jobs, problems, found.left_out)


def _with_masks(
  jobs: list[Job], valid: Mapping[str, pathlib.Path], output: pathlib.Path, naming: Naming
) -> tuple[list[Job], list[str]]:
  """The jobs whose images have masks, with them, and sentences on the others; see `find_jobs`."""
  problems = []
  for image, path in valid.items():
    files = dict.fromkeys((job.name for job in jobs), path)
    if path.is_dir():
      files, found = _find_masks(files, path, image, naming)
      problems += found
      if output.resolve().is_relative_to(path.resolve()):
        raise InputError(
          f"--output={output} is the folder of masks --{image}_valid, or inside it; choose another"
        )
    jobs = [
      dataclasses.replace(job, valid={**job.valid, image: files[job.name]})
      for job in jobs
      if job.name in files
    ]
  return jobs, problems


def _find_masks(
  names: Collection[str], folder: pathlib.Path, image: str, naming: Naming
) -> tuple[dict[str, pathlib.Path], list[str]]:
  """The masks in a folder by the names of pairs, and sentences on pairs that have none."""
  flag = f"{image}_valid"
  rule = dataclasses.replace(naming, affixes={flag: naming.affix(image)}, options="")
  found = matching.find(os.sep, {flag: os.fspath(folder.resolve())}, rule)[flag]
  files = {name: found.images.get(naming.key(name)) for name in names}
  masks_of = {n: pathlib.Path(os.sep, file.path) for n, file in files.items() if file is not None}
  problems = list(found.problems)
  if lacking := [name for name in names if name not in masks_of]:
    problems.append(
      f"{len(lacking)} of {len(names)} pairs have no mask of the {image} image's name in "
      f"--{flag}={folder}: {shorten(lacking)}"
    )
  return masks_of, problems


def _output_file(visible: pathlib.Path, output: str | os.PathLike, extension: str) -> pathlib.Path:
  """The result's file: in a folder under the visible image's name, else with an extension."""
  path = pathlib.Path(output)
  if path.is_dir() or os.fspath(output).endswith(("/", os.sep)):
    path = path / (visible.stem + extension)
  elif not path.suffix:
    path = path.with_name(path.name + extension)
  pictures.check_extension(path.suffix)
  return path


def fuse_jobs(
  fusing: Fuser,
  jobs: Sequence[Job],
  options: Options,
  normalizer: Normalizer | None = None,
  done: list[Done] | None = None,
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
          done += pair.done
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
  visibles = [ready.visible.plain for _, ready in pairs]
  infrareds = [ready.infrared.plain for _, ready in pairs]
  fused = fusing.fuse_pairs(
    visibles,
    infrareds,
    gray=options.gray,
    memory_mb=options.memory_mb,
    # Without masks only holes of aligned pairs come here, which show the visible image.
    valid=[
      masks.of_pair(ready.visible, ready.infrared) if fusing.takes_valid else None
      for _, ready in pairs
    ],
  )
  results = []
  for (job, ready), image in zip(pairs, fused, strict=True):
    stored = ready.visible.stored
    channels = 1 if options.gray else stored.shape[-1]
    dtype = pictures.type_for(job.output, stored.dtype, channels)
    image = ready.visible.restore(image, options.gray, dtype)
    if ready.mask is not None:
      image = aligned.compose(image, ready.visible, ready.mask, options.gray, dtype)
    results.append((job, image))
  return results


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
  except StorageError:
    raise
  except InputError as error:
    return error
  except MemoryError as error:
    return InputError(f"memory does not suffice: {error}")
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return InputError(f"memory does not suffice; a smaller --memory_mb computes in tiles: {error}")


def _size(job: Job, options: Options) -> tuple[int, int]:
  try:
    with open(job.visible, "rb") as file:
      return images.inspect(file, os.fspath(job.visible), options.max_pixels)
  except OSError as error:
    raise InputError(f"{job.visible}: {error.strerror or error}") from error
