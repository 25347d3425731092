"""The command of making weather: pairs of files read, degraded and written with their records."""

import contextlib
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.data.pairs import PairFiles, find_pairs, require_alike
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.fusion.weather import LAST_SEED, WeatherOptions
from cfi_jax.images import range_lines, ranges
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.images.ranges import Normalizer, Range

RECORD = "weather.jsonl"


def make(given: Mapping[str, Any]) -> int:
  """Makes the weather that the flags name; returns the exit status."""
  output = storage.path(given["output"])
  if not 0 <= given["seed"] <= LAST_SEED:
    raise InputError(f"--seed={given['seed']}; allowed: 0 to {LAST_SEED}")
  options = WeatherOptions((given["kind"],), (given["level"],), (given["thermal"],), clear=0.0)
  normalizer = ranges.parse(given["normalize"], MODALITIES)
  sources = (storage.path(given[name]) for name in MODALITIES)
  jobs, failures = find_jobs(*sources, output, naming.from_options(given))
  require_folder(output)
  lines: list[str] = []
  taken: list[tuple[str, np.dtype, Range]] = []
  with _kept(output / RECORD, lines), Progress("making weather", "pair", len(jobs)) as progress:
    for job in jobs:
      try:
        drawn = _make_one(job, output, given["seed"], options, normalizer, taken)
      except InputError as error:
        failures.append(f"{job.name}: {error}")
      else:
        asked = {name: given[name] for name in ("seed", "kind", "level", "thermal")}
        lines.append(json.dumps({"name": job.name} | asked | {"drawn": drawn}))
      progress.update()
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  if taken:
    print(range_lines.describe(taken))
  record = f"; what was drawn: {output / RECORD}" if lines else ""
  print(f"made weather on {len(lines)} of {len(jobs)} pairs{record}")
  return 1 if failures else 0


@contextlib.contextmanager
def _kept(path: pathlib.Path, lines: list[str]) -> Iterator[None]:
  """Writes the lines at the end, also where it comes too early."""
  try:
    yield
  finally:
    if lines:
      write_atomically(path, "".join(line + "\n" for line in lines).encode())


def find_jobs(
  visible: pathlib.Path, infrared: pathlib.Path, output: pathlib.Path, names: naming.Naming
) -> tuple[list[PairFiles], list[str]]:
  """The pairs of two files or of two folders, and sentences on names that are no pairs.

  Raises InputError where there is no pair, and for an output whose results would lie among the
  clean images, or replace them.
  """
  require_alike(visible, infrared)
  for path, name in itertools.product((visible, infrared), MODALITIES):
    results = output / name if visible.is_dir() else _result(output, name, visible.stem)
    if results.resolve().is_relative_to(path.resolve()):
      raise InputError(
        f"--output={output}: results in {results} would lie among the clean images, {path}; choose "
        "another folder"
      )
  found = find_pairs(visible, infrared, names, "make weather on")
  return found.pairs, found.problems


def _result(output: pathlib.Path, modality: str, name: str) -> pathlib.Path:
  """The file of an image under weather."""
  return output / modality / f"{name}.png"


def _make_one(
  job: PairFiles,
  output: pathlib.Path,
  seed: int,
  options: WeatherOptions,
  normalizer: Normalizer,
  done: list[tuple[str, np.dtype, Range]],
) -> dict[str, Any]:
  """Writes a pair under weather that is drawn; returns what was drawn.

  done: gets name, type and range of both images.
  """
  visible, infrared = (images.read_image(path) for path in (job.visible, job.infrared))
  if visible.shape[:2] != infrared.shape[:2]:
    shapes = (f"{image.shape[1]}x{image.shape[0]}" for image in (visible, infrared))
    both = "{} is {} and {} is {} (width x height)".format(
      *(x for pair in zip((job.visible, job.infrared), shapes, strict=True) for x in pair)
    )
    raise InputError(f"{both}; a pair must have one size")
  infrared = images.luma(infrared)
  taken = [
    normalizer.find(name, images.luma(image), f"{job.name}: {name}")
    for name, image in zip(MODALITIES, (visible, infrared), strict=True)
  ]
  pair = Pair(_unit(visible[..., :3], taken[0]), _unit(infrared, taken[1]))
  seen, drawn = weather_lib.on_picture(seed, job.name, pair, options)
  for name, image, found, was in zip(
    MODALITIES, (seen.visible, seen.infrared), taken, (visible, infrared), strict=True
  ):
    stored = _as_stored(image, found, was.dtype)
    if was.shape[-1] == 4:
      stored = np.concatenate([stored, was[..., 3:].astype(stored.dtype)], -1)
    pictures.write_image(_result(output, name, job.name), stored)
    done.append((name, was.dtype, found))
  return weather_lib.describe(drawn)


def _unit(image: np.ndarray, found: Range) -> np.ndarray:
  """An image in [0, 1], where the ends of its range are."""
  unit = (image.astype(np.float64) - found.low) / (found.high - found.low)
  return np.clip(unit, 0, 1).astype(np.float32)


def _as_stored(image: np.ndarray, found: Range, dtype: np.dtype) -> np.ndarray:
  """An image in [0, 1] in the values and the type of its file; others than 8 or 16 bits as uint16.

  These have 0 and 65535 at the ends of the range.
  """
  if dtype in (np.uint8, np.uint16):
    return ranges.to_type(found.low + image * (found.high - found.low), dtype)
  return ranges.to_type(image * ranges.largest(np.uint16), np.uint16)
