"""Pairs of image files: found, read, fused and written, all at the same time."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data import matching
from cfi_jax.data.listing import enumerate_problems
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.fusion import arrays
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.images import colour
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures

AHEAD = 2  # pairs that are read or written while one is computed, per device


class SwappedWarning(UserWarning):
  """A pair whose roles look exchanged."""


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of fusing and writing.

  gray: luma only. memory_mb: per device, None: see `Fuser.fuse`.
  max_pixels: larger files are refused unread.
  resize: "" refuses pairs of different sizes, "infrared" fits that image to the visible one.
  """

  gray: bool
  memory_mb: float | None
  max_pixels: int
  resize: str


@dataclasses.dataclass(frozen=True)
class Job:
  """One pair of files, the file of its result, and the visible image's (height, width)."""

  name: str
  visible: pathlib.Path
  infrared: pathlib.Path
  output: pathlib.Path
  size: tuple[int, int] = (0, 0)


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
) -> Found:
  """Finds the pairs of two files, or of two folders and those below them.

  output: for two files a file, whose extension may be left out, or a folder: one that exists or
    ends with a slash. For two folders a folder; it gets the folders below them, too.
  """
  for path in (visible, infrared):
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  if visible.is_dir() != infrared.is_dir():
    raise InputError(f"{visible} and {infrared}: one is a folder, the other a file")
  pictures.check_extension(extension)
  if not visible.is_dir():
    output = _output_file(visible, output, extension)
    if output.resolve() in (visible.resolve(), infrared.resolve()):
      raise InputError(f"--output={output} is one of the images themselves")
    if visible.resolve() == infrared.resolve():
      raise InputError(f"{visible}: given as the visible and as the infrared image")
    return Found([Job(visible.name, visible, infrared, output)], [], [])
  folders = {"visible": os.fspath(visible.resolve()), "infrared": os.fspath(infrared.resolve())}
  found = matching.match_folders(os.sep, folders, naming)
  if not found.records:
    raise InputError(enumerate_problems("there is no pair to fuse", found.problems))
  output = pathlib.Path(output)
  if output.is_file():
    raise InputError(f"--output={output} is a file; two folders need a folder")
  for image, folder in folders.items():
    results = [record.name + extension for record in found.records]
    taken = any(naming.name(image, result) is not None for result in results)
    if taken and output.resolve().is_relative_to(folder):
      raise InputError(
        f"--output={output} is a folder of the images themselves, or inside one: results would be "
        f"taken for {image} images the next time; choose another folder"
      )
  jobs = [
    Job(
      r.name,
      pathlib.Path(os.sep, r.files["visible"].path),
      pathlib.Path(os.sep, r.files["infrared"].path),
      output / (r.name + extension),
    )
    for r in found.records
  ]
  return Found(jobs, list(found.problems), matching.unread(found.strays))


def _output_file(visible: pathlib.Path, output: str | os.PathLike, extension: str) -> pathlib.Path:
  """The result's file: in a folder under the visible image's name, else with an extension."""
  path = pathlib.Path(output)
  if path.is_dir() or os.fspath(output).endswith(("/", os.sep)):
    path = path / (visible.stem + extension)
  elif not path.suffix:
    path = path.with_name(path.name + extension)
  pictures.check_extension(path.suffix)
  return path


def fuse_jobs(fusing: Fuser, jobs: Sequence[Job], options: Options) -> Iterator[tuple[Job, str]]:
  """Fuses and writes; yields every job with the reason of its failure, "" for success.

  Raises `StorageError` when nothing more can be written.

  Threads read and write during the computation. Jobs are taken in the order of their buckets, so
  that pairs of different sizes share programs. Each device computes one pair at a time.
  """
  devices = len(fusing.devices)
  with _pool(2 + devices) as readers, _pool(2 + devices) as writers:
    sized = []
    for job, size in zip(jobs, readers.map(lambda j: _try(_size, j, options), jobs), strict=True):
      if isinstance(size, InputError):
        yield job, str(size)
      else:
        sized.append(dataclasses.replace(job, size=size))
    batches = _batches(fusing, sized, options.memory_mb)
    pairs_of = _ahead(readers, lambda batch: [_try(read_pair, j, options) for j in batch], batches)
    writing = collections.deque()
    for batch, pairs in zip(batches, pairs_of, strict=True):
      readable = []
      for job, pair in zip(batch, pairs, strict=True):
        if isinstance(pair, InputError):
          yield job, str(pair)
        else:
          readable.append((job, pair))
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


def read_pair(job: Job, options: Options) -> tuple[np.ndarray, np.ndarray]:
  """Both images [H, W, C] in one size; InputError when they differ and may not be resized."""
  visible, infrared = (
    arrays.as_image(images.read_image(path, options.max_pixels), str(path))
    for path in (job.visible, job.infrared)
  )
  if visible.shape[:2] != infrared.shape[:2]:
    if options.resize != "infrared":
      raise InputError(
        f"{job.visible} is {_shape(visible)} and {job.infrared} is {_shape(infrared)} (width x "
        "height); --resize=infrared fits the second to the first if they show the same scene"
      )
    infrared = _resize(infrared, visible.shape[:2])
  return visible, infrared


def look_swapped(visible: np.ndarray, infrared: np.ndarray) -> bool:
  """Whether the "infrared" image is the coloured one."""
  return colour.is_grey(visible) and not colour.is_grey(infrared)


def _compute(
  fusing: Fuser, pairs: list[tuple[Job, tuple]], options: Options
) -> list[tuple[Job, np.ndarray]]:
  """Fused images of pairs that share a bucket."""
  visibles, infrareds = [], []
  for job, (visible, infrared) in pairs:
    if look_swapped(visible, infrared):
      warnings.warn(
        f"{job.name}: the visible image is grey and the infrared one coloured; are they swapped? "
        "The coloured image belongs to the visible role",
        SwappedWarning,
        stacklevel=1,
      )
    # Grey is judged by content: a grey picture stored as RGB is written as grey.
    grey_as_rgb = visible.shape[-1] == 3 and colour.is_grey(visible)
    visibles.append(visible[..., :1] if grey_as_rgb else visible)
    infrareds.append(infrared)
  fused = fusing.fuse_pairs(visibles, infrareds, gray=options.gray, memory_mb=options.memory_mb)
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


def _shape(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Bilinear, smoothed where it shrinks, rounded to the image's integers."""
  channels = [
    Image.fromarray(image[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    for c in range(image.shape[-1])
  ]
  return np.rint(np.stack([np.asarray(c) for c in channels], -1)).astype(image.dtype)
