"""Scores of fused sequences over time, beside those of their sources."""

import csv
import io
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import eight_bits
from cfi_jax.data.naming import Naming
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import ranges
from cfi_jax.images import read as images
from cfi_jax.metrics import temporal
from cfi_jax.sequences.matching import match
from cfi_jax.sequences.opening import open_recording
from cfi_jax.sequences.recording import Recording
from cfi_jax.sequences.together import together, with_ranges

Table = dict[str, dict[str, float]]  # value by metric, by sequence


def evaluate_temporal(
  sources: Mapping[str, pathlib.Path],
  fused: Mapping[str, pathlib.Path],
  naming: Naming,
  output: pathlib.Path,
) -> Table:
  """Scores sequences (folders of numbered frames, TIFFs, videos) and writes temporal.csv.

  sources: by modality. fused: by method, as many frames as the visible one has, or those of them
  that have a partner. Sources that are not of 8 bits are stretched with one range per sequence.

  Raises:
    InputError: sequences that cannot be read, or do not fit together; nothing is written then.
  """
  if not fused:
    raise InputError("nothing to score: name fused sequences, --fused=NAME:PATH")
  if taken := [name for name in fused if name in sources]:
    raise InputError(
      f"--fused={taken[0]}:{fused[taken[0]]}: {taken[0]!r} is a source; choose another name"
    )
  require_folder(output)
  recordings: dict[str, Recording] = {
    name: open_recording(path, name, naming=naming) for name, path in {**sources, **fused}.items()
  }
  matched = match(*(recordings[name] for name in MODALITIES))
  numbers = dict(zip(MODALITIES, (matched.visible, matched.infrared), strict=True))
  count = len(matched.visible)
  if count < 3:
    raise InputError(f"{count} frames; allowed: 3 or more, as scores over time need neighbours")
  for name in fused:
    own = len(recordings[name].timing)
    if own != count:
      raise InputError(f"{recordings[name].title} has {own} frames and the sources {count}")
    numbers[name] = np.arange(count)
  rules = ranges.parse("auto")
  rules = with_ranges(rules, {name: recordings[name] for name in MODALITIES}, numbers)
  frames = _grey(recordings, numbers, rules)
  told = track(frames, "scoring over time", "frame", count)
  table = temporal.score(told, MODALITIES)
  write_atomically(output / "temporal.csv", _to_csv(table).encode(errors="replace"))
  return table


def to_text(table: Table) -> str:
  """The scores in columns."""
  width = max(map(len, ("sequence", *table)))
  lines = ["  ".join(["sequence".ljust(width), *temporal.METRICS])]
  for name, values in table.items():
    cells = [f"{values[metric]:.3f}".rjust(len(metric)) for metric in temporal.METRICS]
    lines.append("  ".join([name.ljust(width), *cells]))
  return "\n".join(lines)


def _grey(
  recordings: Mapping[str, Recording], numbers: Mapping[str, np.ndarray], rules: ranges.Normalizer
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the luma of the frames of every sequence, float32 [H, W] in [0, 255]."""
  names = list(recordings)
  for frames in together([recordings[n] for n in names], [numbers[n] for n in names]):
    found = {}
    for name, frame in zip(names, frames, strict=True):
      if frame.shape[:2] != frames[0].shape[:2]:
        sizes = " and ".join("x".join(map(str, f.shape[1::-1])) for f in (frame, frames[0]))
        raise InputError(
          f"{recordings[name].title} and {recordings[names[0]].title} are of {sizes} (width x "
          "height); scores over time compare sequences of one size"
        )
      luma = images.luma(frame)
      if name in MODALITIES:
        unit = rules.find(name, luma, recordings[name].title).to_unit(luma, np.dtype(np.float32))
        found[name] = 255 * unit[..., 0]
      else:
        found[name] = eight_bits(luma, recordings[name].title)[..., 0].astype(np.float32)
    yield found


def _to_csv(table: Table) -> str:
  text = io.StringIO(newline="")
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(("sequence", *temporal.METRICS))
  for name, values in table.items():
    writer.writerow((name, *(f"{values[metric]:.9g}" for metric in temporal.METRICS)))
  return text.getvalue()
