"""The command of fusing: this process's share of the pairs, with its progress."""

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from PIL import Image

from cfi_jax.core import storage
from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import StorageError
from cfi_jax.data import naming, pairs, shards
from cfi_jax.data.listing import shorten
from cfi_jax.data.parts import Part, request_of
from cfi_jax.data.shards import ALL, Made, Shard, stretches
from cfi_jax.data.threads import each
from cfi_jax.fuse import sequence, summary, told, volumes
from cfi_jax.fuse.finding import Found, find_embedded_jobs, find_jobs
from cfi_jax.fuse.jobs import fuse_jobs
from cfi_jax.fuse.reading import Job, Options, make_normalizer
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images.range_lines import Tally
from cfi_jax.images.ranges import Normalizer
from cfi_jax.sequences.pair import is_sequence
from cfi_jax.systems.files import label, load_fuser


def fuse(given: Mapping[str, Any]) -> int:
  """Fuses this process's share of the pairs that the flags name; returns the exit status.

  With the flags of `data.shards` its share is written down as a part of a summary.
  """
  shard = shards.from_flags(given)
  if given["join"]:
    return summary.join(storage.path(given["output"]), given["process_count"])
  if volumes.are_volumes(given):
    return volumes.fuse_volumes(given)
  Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; --max_pixels is checked for every file
  options = sequence.options_of(given)
  if is_sequence(given):
    return sequence.fuse_sequence(given, options)
  own = shard or Shard(jax.process_index(), jax.process_count())
  found = _find(given, own)
  for job in found.jobs[:1]:
    require_folder(job.output.parent)
  # A range of a folder is one of all its images, whatever this process's share.
  whole = own.count > 1 and options.normalize_over != "image"
  normalizer = make_normalizer(_find(given, ALL).jobs if whole else found.jobs, options)
  if found.left_out:
    print(f"note: {len(found.left_out)} files are left out: {shorten(found.left_out)}")
  fusing = load_fuser(given["weights"], dtype=given["dtype"], devices=jax.local_devices())
  output = storage.path(given["output"])
  part = Part(output, shard, request_of(given), keep=False) if shard else None
  wanted = _missing(found.jobs, part) if given["skip_existing"] else found.jobs
  skipped, name = len(found.jobs) - len(wanted), label(given["weights"])
  status = _run(fusing, wanted, options, normalizer, found.problems, skipped, name, part)
  if part is None or status == INTERRUPTED:
    return status
  summary.finish(part, found)
  print(f"part {shard} is written; when all are, --join makes {output / summary.FILE} of them")
  return 0  # a scheduler has nothing to do again; what failed the join lists once more


def _find(given: Mapping[str, Any], shard: Shard) -> Found:
  """A shard's pairs of --visible and --infrared, or of --flir."""
  extension = "." + given["format"].lower().lstrip(".")
  valid = {m: storage.path(given[f"{m}_valid"]) for m in MODALITIES if given[f"{m}_valid"]}
  rest = given["output"], extension, naming.from_options(given), valid
  sources = pairs.sources(given)
  if len(sources) == 2:
    return find_jobs(*sources, *rest, shard)
  if not given["align"]:
    print(
      "note: the visible pictures inside are of another lens, which sees another part of the "
      "scene; python -m cfi_jax.align --flir finds the rig by which --align brings both together"
    )
  return find_embedded_jobs(*sources, *rest, shard)


def _is_written(job: Job) -> bool:
  return job.output.exists() and job.output.stat().st_size > 0


def _missing(jobs: Sequence[Job], part: Part | None) -> Sequence[Job]:
  """The jobs whose results are not there yet; part: gets a record of each of the others."""
  kept: list[int] = []
  for places in stretches(range(len(jobs))):
    there = each(lambda k: _is_written(jobs[k]), places, "looking for results", "pair")
    for k, written in zip(places, there, strict=True):
      if not written:
        kept.append(k)
      elif part is not None:
        part.add({"name": jobs[k].name, "failure": ""})
  return Made(kept, jobs.__getitem__)


def _run(
  fusing: Fuser,
  jobs: Sequence[Job],
  options: Options,
  normalizer: Normalizer,
  problems: list[str],
  skipped: int,
  name: str,
  part: Part | None = None,
) -> int:
  """Fuses the jobs telling of the progress, then lists what failed and says what was done.

  part: gets a record of each job. Jobs are planned and held `shards.STRETCH` at a time.
  When nothing more can be written, or after Ctrl-C, says how many are whole and how to go on.
  """
  failures = list(problems)
  taken, doubts = Tally(), told.Doubts()
  pixels, began, done = 0, time.perf_counter(), 0
  with (
    warnings.catch_warnings(record=True) as warned,
    Progress("fusing", "pair", len(jobs)) as progress,
  ):
    warnings.simplefilter("always", UserWarning)
    try:
      for stretch in stretches(jobs):
        for job, reason in fuse_jobs(fusing, stretch, options, normalizer, taken):
          progress.update()
          if part is not None:
            part.add({"name": job.name, "failure": reason})
          if reason:
            failures.append(f"{job.name}: {reason}")
          else:
            done += 1
            pixels += job.size[0] * job.size[1]
          doubts.take(warned)
        if part is not None:
          part.flush()
    except (StorageError, KeyboardInterrupt) as error:
      left = f"{done} of {len(jobs)} pairs are fused; with --skip_existing the same command goes on"
      if isinstance(error, StorageError):
        raise StorageError(f"{error}; {left}") from error
      print(f"interrupted: {left}", file=sys.stderr)
      return INTERRUPTED
  seconds = time.perf_counter() - began
  doubts.take(warned)
  doubts.tell()
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  if taken:
    print(taken.describe(options.normalize_over))
  if options.align is not None and options.align.shares:
    print(options.align.describe())
  speed = pixels / 1e6 / seconds
  print(
    f"fused {done} of {len(jobs)} pairs in {seconds:.1f} s ({speed:.2f} megapixels/s) with {name}"
    + (f", {skipped} skipped" if skipped else "")
    + (f", {len(failures)} failed" if failures else "")
  )
  return 1 if failures else 0
