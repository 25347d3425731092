"""The command of pose transfer: one source, or a folder of them, onto one target."""

import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cfi_jax.core import storage
from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.pictures import pictures_in, read_rgb
from cfi_jax.datasets.posed.keypoints import find_file, read_file
from cfi_jax.images import write as pictures
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.files import label, load_transferrer


class Job(NamedTuple):
  """A source, the file of its result, which frames of one film share, and its keypoint file."""

  source: pathlib.Path
  output: pathlib.Path
  keypoints: pathlib.Path | None = None


def transfer(given: Mapping[str, Any]) -> int:
  """Transfers what the flags name; returns the exit status."""
  Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; --max_pixels is checked for every file
  source, target = storage.path(given["source"]), storage.path(given["target"])
  jobs = find_jobs(source, target, given["output"], "." + given["format"].lower().lstrip("."))
  if not 10 <= given["frame_ms"] <= 10_000:
    raise InputError(f"--frame_ms={given['frame_ms']}; allowed: 10 to 10000")
  jobs = find_keypoints(jobs, source, given["source_keypoints"])
  own = given["target_keypoints"]
  pose = read_file(storage.path(own)) if own else None
  person = read_rgb(target, given["max_pixels"])
  transferring = load_transferrer(given["weights"], dtype=given["dtype"])
  require_folder(jobs[0].output.parent)
  began = time.perf_counter()
  failures: list[str] = []
  results = _run(transferring, jobs, (person, pose), given["max_pixels"], failures)
  if source.is_dir() and is_film(jobs[0].output):
    frames = [made for _, made in results]
    if frames:
      pictures.write_animation(jobs[0].output, frames, given["frame_ms"])
  else:
    for job, made in results:
      pictures.write_image(job.output, made)
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  seconds, done = time.perf_counter() - began, len(jobs) - len(failures)
  failed = f", {len(failures)} failed" if failures else ""
  name = label(given["weights"])
  print(f"transferred {done} of {len(jobs)} poses in {seconds:.1f} s with {name}{failed}")
  return 1 if failures else 0


def _run(
  transferring: Transferrer,
  jobs: Sequence[Job],
  target: tuple[np.ndarray, np.ndarray | None],
  max_pixels: int,
  failures: list[str],
) -> Iterator[tuple[Job, np.ndarray]]:
  """Yields the results; adds a sentence on each that fails to `failures`."""
  for job in track(jobs, "transferring", "pose"):
    try:
      pose = None if job.keypoints is None else read_file(job.keypoints)
      (person, own) = target
      made = transferring.transfer(read_rgb(job.source, max_pixels), person, pose, own)
    except InputError as error:
      failures.append(f"{job.source}: {error}")
    else:
      yield job, made


def find_keypoints(jobs: list[Job], source: pathlib.Path, given: str | None) -> list[Job]:
  """The jobs with the keypoint files of their sources.

  given: a file, for a folder of sources a folder with a file for each; None for none.
  """
  if not given:
    return jobs
  place = storage.path(given)
  if not source.is_dir() and not place.is_dir():
    return [job._replace(keypoints=place) for job in jobs]
  if not place.is_dir():
    raise InputError(f"--source_keypoints={given}: no folder; allowed for a folder of sources: one")
  return [job._replace(keypoints=find_file(place, job.source.stem)) for job in jobs]


def is_film(path: pathlib.Path) -> bool:
  """Whether a file of that name can hold all frames of a sequence."""
  return path.suffix.lower() in pictures.ANIMATED


def find_jobs(source: pathlib.Path, target: pathlib.Path, output: str, extension: str) -> list[Job]:
  """The sources in the order of their names, each with its result's file.

  output: for one source a file, whose extension may be left out, or a folder: one that exists or
    ends with a slash; for a folder a folder, or one animated picture, .gif or .webp.
  extension: of results in a folder, with its dot.
  """
  for path in (source, target):
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  if target.is_dir():
    raise InputError(f"--target={target} is a folder; allowed: one picture")
  pictures.check_extension(extension)
  place = storage.path(output)
  if not source.is_dir():
    if place.is_dir() or output.endswith("/"):
      place = place / (source.stem + extension)
    place = place if place.suffix else place.with_name(place.name + extension)
    pictures.check_extension(place.suffix)
    if place.resolve() in (source.resolve(), target.resolve()):
      raise InputError(f"--output={output} is one of the pictures themselves")
    return [Job(source, place)]
  if is_film(place) and not place.is_dir() and not output.endswith("/"):
    if place.resolve() == target.resolve():
      raise InputError(f"--output={output} is one of the pictures themselves")
    return [Job(path, place) for path in pictures_in(source)]
  if place.is_file():
    raise InputError(f"--output={output} is a file; a folder of sources needs a folder")
  if place.resolve() == source.resolve():
    raise InputError(f"--output={output} is the folder of the sources; choose another folder")
  return [Job(path, place / (path.stem + extension)) for path in pictures_in(source)]
