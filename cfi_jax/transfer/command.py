"""The command of pose transfer: one source, or a folder of them, onto one target."""

import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data.source import rgb
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.files import label, load_transferrer


class Job(NamedTuple):
  """A source and the file of its result."""

  source: pathlib.Path
  output: pathlib.Path


def transfer(given: Mapping[str, Any]) -> int:
  """Transfers what the flags name; returns the exit status."""
  Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; --max_pixels is checked for every file
  source, target = pathlib.Path(given["source"]), pathlib.Path(given["target"])
  jobs = find_jobs(source, target, given["output"], "." + given["format"].lower().lstrip("."))
  person = read_picture(target, given["max_pixels"])
  transferring = load_transferrer(given["weights"], dtype=given["dtype"])
  require_folder(jobs[0].output.parent)
  began = time.perf_counter()
  failures = _run(transferring, jobs, person, given["max_pixels"])
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  seconds, done = time.perf_counter() - began, len(jobs) - len(failures)
  failed = f", {len(failures)} failed" if failures else ""
  name = label(given["weights"])
  print(f"transferred {done} of {len(jobs)} poses in {seconds:.1f} s with {name}{failed}")
  return 1 if failures else 0


def _run(
  transferring: Transferrer, jobs: Sequence[Job], person: np.ndarray, max_pixels: int
) -> list[str]:
  """Makes and writes the results; returns a sentence on each that failed."""
  failures = []
  for job in track(jobs, "transferring", "pose"):
    try:
      made = transferring.transfer(read_picture(job.source, max_pixels), person)
      pictures.write_image(job.output, made)
    except StorageError:
      raise
    except InputError as error:
      failures.append(f"{job.source}: {error}")
  return failures


def find_jobs(source: pathlib.Path, target: pathlib.Path, output: str, extension: str) -> list[Job]:
  """The sources in the order of their names, each with its result's file.

  output: for one source a file, whose extension may be left out, or a folder: one that exists or
    ends with a slash; for a folder a folder. extension: of results in a folder, with its dot.
  """
  for path in (source, target):
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  if target.is_dir():
    raise InputError(f"--target={target} is a folder; allowed: one picture")
  pictures.check_extension(extension)
  place = pathlib.Path(output)
  if not source.is_dir():
    if place.is_dir() or output.endswith("/"):
      place = place / (source.stem + extension)
    place = place if place.suffix else place.with_name(place.name + extension)
    pictures.check_extension(place.suffix)
    if place.resolve() in (source.resolve(), target.resolve()):
      raise InputError(f"--output={output} is one of the pictures themselves")
    return [Job(source, place)]
  if place.is_file():
    raise InputError(f"--output={output} is a file; a folder of sources needs a folder")
  if place.resolve() == source.resolve():
    raise InputError(f"--output={output} is the folder of the sources; choose another folder")
  found = sorted(p for p in source.iterdir() if p.suffix.lower() in images.EXTENSIONS)
  if not found:
    raise InputError(f"{source}: holds no pictures; read are {', '.join(images.EXTENSIONS)}")
  names = [path.stem for path in found]
  if twice := sorted({name for name in names if names.count(name) > 1}):
    raise InputError(f"{source}: several pictures are called {twice[0]!r} but for their extension")
  return [Job(path, place / (path.stem + extension)) for path in found]


def read_picture(path: pathlib.Path, max_pixels: int) -> np.ndarray:
  """A picture as uint8 RGB [H, W, 3]; 16 bits are divided by 257 and rounded."""
  picture = rgb(images.read_image(path, max_pixels))
  if picture.dtype == np.uint16:
    return np.round(picture / 257).astype(np.uint8)
  if picture.dtype != np.uint8:
    raise InputError(f"{path}: holds {picture.dtype}; allowed: 8 or 16 bits")
  return picture
