"""The command of fusing: this process's share of the pairs, with its progress."""

import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax
from PIL import Image

from cfi_jax.core import storage
from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data import naming, pairs
from cfi_jax.data.listing import shorten
from cfi_jax.fuse import sequence, told, volumes
from cfi_jax.fuse.finding import Found, find_embedded_jobs, find_jobs
from cfi_jax.fuse.jobs import fuse_jobs
from cfi_jax.fuse.reading import Done, Job, Options, make_normalizer
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import range_lines
from cfi_jax.images.ranges import Normalizer
from cfi_jax.sequences.pair import is_sequence
from cfi_jax.systems.files import label, load_fuser


def fuse(given: Mapping[str, Any]) -> int:
  """Fuses this process's share of the pairs that the flags name; returns the exit status."""
  if volumes.are_volumes(given):
    return volumes.fuse_volumes(given)
  Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; --max_pixels is checked for every file
  options = sequence.options_of(given)
  if is_sequence(given):
    return sequence.fuse_sequence(given, options)
  found = _find(given)
  for job in found.jobs[:1]:
    require_folder(job.output.parent)
  index, count = share(given["process_index"], given["process_count"])
  normalizer = make_normalizer(found.jobs, options)  # of all, whatever this process's share
  jobs = found.jobs[index::count]
  if found.left_out and index == 0:
    print(f"note: {len(found.left_out)} files are left out: {shorten(found.left_out)}")
  wanted = [job for job in jobs if not (given["skip_existing"] and _is_written(job))]
  fusing = load_fuser(given["weights"], dtype=given["dtype"], devices=jax.local_devices())
  failures = found.problems if index == 0 else []
  name = label(given["weights"])
  return _run(fusing, wanted, options, normalizer, failures, len(jobs) - len(wanted), name)


def _find(given: Mapping[str, Any]) -> Found:
  """The pairs of --visible and --infrared, or of --flir."""
  extension = "." + given["format"].lower().lstrip(".")
  valid = {m: storage.path(given[f"{m}_valid"]) for m in MODALITIES if given[f"{m}_valid"]}
  rest = given["output"], extension, naming.from_options(given), valid
  sources = pairs.sources(given)
  if len(sources) == 2:
    return find_jobs(*sources, *rest)
  if not given["align"]:
    print(
      "note: the visible pictures inside are of another lens, which sees another part of the "
      "scene; python -m cfi_jax.align --flir finds the rig by which --align brings both together"
    )
  return find_embedded_jobs(*sources, *rest)


def _is_written(job: Job) -> bool:
  return job.output.exists() and job.output.stat().st_size > 0


def share(index: int | None, count: int | None) -> tuple[int, int]:
  """This process's index and the number of processes, by flags or by jax.distributed."""
  if index is None and count is None:
    return jax.process_index(), jax.process_count()
  if index is None or count is None or not 0 <= index < count:
    raise InputError(
      f"--process_index={index} --process_count={count}; both are needed, 0 <= index < count"
    )
  return index, count


def _run(
  fusing: Fuser,
  jobs: list[Job],
  options: Options,
  normalizer: Normalizer,
  problems: list[str],
  skipped: int,
  name: str,
) -> int:
  """Fuses the jobs telling of the progress, then lists what failed and says what was done.

  When nothing more can be written, or after Ctrl-C, says how many are whole and how to go on.
  """
  failures = list(problems)
  taken: list[Done] = []
  pixels, began, done = 0, time.perf_counter(), 0
  with (
    warnings.catch_warnings(record=True) as doubts,
    Progress("fusing", "pair", len(jobs)) as progress,
  ):
    warnings.simplefilter("always", UserWarning)
    try:
      for job, reason in fuse_jobs(fusing, jobs, options, normalizer, taken):
        progress.update()
        if reason:
          failures.append(f"{job.name}: {reason}")
        else:
          done += 1
          pixels += job.size[0] * job.size[1]
    except (StorageError, KeyboardInterrupt) as error:
      left = f"{done} of {len(jobs)} pairs are fused; with --skip_existing the same command goes on"
      if isinstance(error, StorageError):
        raise StorageError(f"{error}; {left}") from error
      print(f"interrupted: {left}", file=sys.stderr)
      return INTERRUPTED
  seconds = time.perf_counter() - began
  told.print_warnings(doubts)
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  if taken:
    print(range_lines.describe(taken, options.normalize_over))
  if options.align is not None and options.align.shares:
    print(options.align.describe())
  speed = pixels / 1e6 / seconds
  print(
    f"fused {done} of {len(jobs)} pairs in {seconds:.1f} s ({speed:.2f} megapixels/s) with {name}"
    + (f", {skipped} skipped" if skipped else "")
    + (f", {len(failures)} failed" if failures else "")
  )
  return 1 if failures else 0
