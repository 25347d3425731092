"""Sequences: two recordings fused frame by frame, with one meaning of their values for all."""

import collections
import dataclasses
import sys
import time
import warnings
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import InputError
from cfi_jax.data.threads import ahead
from cfi_jax.fuse import aligned, told
from cfi_jax.fuse.computing import fuse_ready
from cfi_jax.fuse.reading import (
  Options,
  Ready,
  fit,
  make_ready,
  make_rules,
  open_names,
)
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import range_lines, validity
from cfi_jax.images.ranges import Normalizer
from cfi_jax.sequences.matching import Matched
from cfi_jax.sequences.opening import number_of
from cfi_jax.sequences.pair import open_both
from cfi_jax.sequences.recording import Recording
from cfi_jax.sequences.together import AHEAD, together, with_ranges
from cfi_jax.sequences.writing import Writer, open_writer
from cfi_jax.systems.files import label, load_fuser

_FOR_PICTURES = {  # flags that say nothing of a sequence, and their values without meaning
  "visible_valid": "", "infrared_valid": "", "skip_existing": False, "flir": None,
  "coordinator": None, "array": "", "join": False,
}  # fmt: skip


def fuse_sequence(given: Mapping[str, Any], options: Options) -> int:
  """Fuses the recordings that the flags name; returns the exit status."""
  _require_flags(given)
  recordings, matched = open_both(given)
  visible = recordings[0]
  output = storage.path(given["output"])
  extension = "." + given["format"].lower().lstrip(".")
  if output.resolve() in (storage.path(r.title).resolve() for r in recordings):
    raise InputError(f"--output={output} is one of the sequences themselves")
  last = int(visible.timing.ticks[matched.visible[-1]])
  writer = open_writer(output, visible, extension, last)
  fusing = load_fuser(given["weights"], dtype=given["dtype"], devices=jax.local_devices())
  _tell_of_counters(recordings, matched)
  normalizer = of_sequence(recordings, matched, options)
  return _run(fusing, recordings, matched, options, normalizer, writer, given)


def _tell_of_counters(recordings: list[Recording], matched: Matched) -> None:
  """Says of folders that their frames are paired in order where their numbers differ."""
  firsts = [
    recording.names[numbers[0]] if recording.names else None
    for recording, numbers in zip(recordings, (matched.visible, matched.infrared), strict=True)
  ]
  if None in firsts or number_of(firsts[0]) == number_of(firsts[1]):
    return
  print(
    f"note: frames are paired in order, from {firsts[0]} with {firsts[1]} on, though their numbers "
    "differ; where a camera lost its first frames, take their partners out of the other folder"
  )


def _require_flags(given: Mapping[str, Any]) -> None:
  for name, empty in _FOR_PICTURES.items():
    if given[name] != empty:
      raise InputError(f"--{name}={given[name]} is for pictures; a sequence is fused without it")
  if (given["process_count"] or 1) > 1:
    raise InputError(
      f"--process_count={given['process_count']}: one process fuses a sequence; give each others"
    )
  if given["align"] == aligned.AUTO:
    raise InputError(
      "--align=auto aligns single pairs; a sequence needs one rig: python -m cfi_jax.align of both "
      "sequences, then --align=rig.json"
    )


def of_sequence(recordings: list[Recording], matched: Matched, options: Options) -> Normalizer:
  """The rules of the options with one range for each recording."""
  normalizer = make_rules(options)
  both = dict(zip(MODALITIES, recordings, strict=True))
  numbers = dict(zip(MODALITIES, (matched.visible, matched.infrared), strict=True))
  wanted = {name: both[name] for name in open_names(options, normalizer)}
  return with_ranges(normalizer, wanted, numbers)


def readies(
  recordings: list[Recording],
  matched: Matched,
  options: Options,
  normalizer: Normalizer,
  takes_valid: bool,
) -> Generator[Ready, None, None]:
  """Yields the pairs of frames, ready to be fused."""
  both = together(recordings, (matched.visible, matched.infrared))
  try:
    for k, (first, second) in enumerate(both):
      numbers = matched.visible[k], matched.infrared[k]
      labels = [f"{r.title}: frame {n}" for r, n in zip(recordings, numbers, strict=True)]
      first, second = fit(validity.apply(first), validity.apply(second), options, labels)
      yield make_ready(first, second, options, normalizer, labels, takes_valid=takes_valid)
  finally:
    both.close()


def _run(
  fusing: Fuser,
  recordings: list[Recording],
  matched: Matched,
  options: Options,
  normalizer: Normalizer,
  writer: Writer,
  given: Mapping[str, Any],
) -> int:
  """Reads, computes and writes at once, telling of the progress, and says what was done."""
  began, count = time.perf_counter(), len(matched.visible)
  taken, doubts = range_lines.Tally(), told.Doubts()
  ready = ahead(readies(recordings, matched, options, normalizer, fusing.takes_valid), AHEAD)
  done = 0
  with warnings.catch_warnings(record=True) as warned, ThreadPoolExecutor(1) as pool:
    warnings.simplefilter("always", UserWarning)
    writing: collections.deque[Future] = collections.deque()
    try:
      with Progress("fusing", "frame", count) as progress:
        for batch in _batches(ready, len(fusing.devices)):
          taken.extend(entry for one in batch for entry in one.done)
          doubts.take(warned)
          if not done:
            fusing.reserve([batch[0].visible.stored.shape[:2]], memory_mb=options.memory_mb)
          for image in fuse_ready(fusing, batch, options, [writer.type_for] * len(batch)):
            number = matched.visible[done]
            name = recordings[0].names[number] if recordings[0].names else ""
            tick = int(recordings[0].timing.ticks[number])
            writing.append(pool.submit(writer.write, image, tick, name))
            done += 1
          while len(writing) > AHEAD * len(fusing.devices):
            writing.popleft().result()
            progress.update()
        for future in writing:
          future.result()
          progress.update()
      writer.finish()
    except KeyboardInterrupt:
      pool.shutdown(cancel_futures=True)
      writer.discard()
      print(
        f"interrupted after {done} of {count} frames: no file that is not whole is left",
        file=sys.stderr,
      )
      return INTERRUPTED
    except BaseException:
      pool.shutdown(cancel_futures=True)
      writer.discard()
      raise
    finally:
      ready.close()
  seconds = time.perf_counter() - began
  doubts.take(warned)
  doubts.tell()
  print(taken.describe("sequence"))
  if options.align is not None:
    print(options.align.describe())
  chosen = zip(recordings, (matched.visible, matched.infrared), strict=True)
  left = [len(recording.timing) - len(np.unique(numbers)) for recording, numbers in chosen]
  if any(left):
    print(f"note: {left[0]} visible and {left[1]} infrared frames have no partner: left out")
  print(
    f"fused {done} frames in {seconds:.1f} s ({done / seconds:.3g} frames/s) with "
    f"{label(given['weights'])}: {given['output']} ({writer.description})"
  )
  return 0


def _batches(ready: Iterator[Ready], size: int) -> Iterator[list[Ready]]:
  """Yields lists of at most so many."""
  batch: list[Ready] = []
  for one in ready:
    batch.append(one)
    if len(batch) == size:
      yield batch
      batch = []
  if batch:
    yield batch


def options_of(given: Mapping[str, Any]) -> Options:
  """The options that the flags say, a rig read from its file."""
  given = {**given, "align": aligned.parse(given["align"], given["resize"])}
  return Options(*(given[f.name] for f in dataclasses.fields(Options)))
