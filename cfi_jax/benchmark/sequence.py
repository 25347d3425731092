"""Sequences: frames a second and memory of fusing recordings of several lengths.

  python -m cfi_jax.benchmark sequence --frames=500,10000 --output=FILE.json

Writes a photograph and counts of 16 bits that drift, as FFV1, and fuses them with
`python -m cfi_jax.fuse` in a process of its own, whose largest resident size is told. Needs PyAV.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from cfi_jax.benchmark.harness import machine, results
from cfi_jax.benchmark.harness.images import parse_size
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.sequences import video

RATE = 30


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  counts = _counts(options.frames)
  path = results.output_path(options)
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    for count in counts:
      rows.append(_measure(pathlib.Path(folder), count, parse_size(options.size), options.weights))
  values = {
    "command": options.command,
    "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    "machine": machine.machine(),
    "versions": machine.versions(),
    "size": options.size,
    "weights": options.weights,
    "rows": rows,
  }
  lines = [options.command, "", "frames  frames/s  peak MB  written"]
  lines += [
    f"{r['frames']:6d}  {r['frames_per_second']:8.1f}  {r['peak_mb']:7.0f}  {r['written']:7d}"
    for r in rows
  ]
  print("\n".join(lines))
  if path is not None:
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".txt"), ("\n".join(lines) + "\n").encode())
  return 0 if all(row["written"] == row["frames"] for row in rows) else 1


def _counts(texts: list[str]) -> list[int]:
  if not all(text.isdigit() and int(text) > 0 for text in texts):
    raise InputError(f"--frames={','.join(texts)}; allowed: numbers from 1, with commas")
  return [int(text) for text in texts]


def _measure(
  folder: pathlib.Path, count: int, size: tuple[int, int], weights: str
) -> dict[str, float]:
  """Fuses recordings of so many frames; the seconds are those of the whole process."""
  visible, infrared, fused = (folder / f"{name}.mkv" for name in ("visible", "infrared", "fused"))
  y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
  for path, is_visible in ((visible, True), (infrared, False)):
    writer = video.VideoWriter(path, Fraction(1, RATE), Fraction(RATE))
    for k in range(count):
      wave = np.sin((x + k) / 9) * np.cos((y - k) / 13)
      levels = np.stack([128 + 100 * wave, 90 + y, 200 - x], -1)
      frame = levels.astype(np.uint8) if is_visible else (7600 + 400 * wave[..., None])
      writer.write(frame if is_visible else frame.astype(np.uint16), k)
    writer.finish()
  flags = [f"--visible={visible}", f"--infrared={infrared}", f"--output={fused}"]
  seconds, peak_mb = fuse([*flags, f"--weights={weights}"])
  written = len(video.open_video(fused).timing)
  return {
    "frames": count,
    "seconds": seconds,
    "frames_per_second": count / seconds,
    "peak_mb": peak_mb,
    "written": written,
  }


def fuse(flags: list[str]) -> tuple[float, float]:
  """Runs the command in a process of its own; its seconds, and its largest resident size in MB."""
  command = [sys.executable, "-m", "cfi_jax.fuse", *flags]
  began = time.perf_counter()
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(process.pid, 0)
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise InputError(f"{' '.join(command)} ended with status {process.returncode}")
  return time.perf_counter() - began, usage.ru_maxrss / 1024
