"""Fusing: exact whole images, the price of sharing programs and of tiles, and one huge pair.

  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --torch --output=FILE.json
  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --study=buckets
  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --study=large  # 8192x8192, in tiles
  python -m cfi_jax.benchmark fuse --weights=wavelet --study=rule  # a rule without training

`compare` measures `cfi_jax.load(...).fuse` and the plain flax graph, with --torch also the same
network in PyTorch, of any architecture, with the same weights, eager and compiled (channels-last).
They must give the same images first: to 1e-5 in float32 on a CPU, else to 5e-2; `difference` is
the largest of a pixel. On a CPU the time is from float32 arrays to a float32 array in the host's
memory; on an accelerator the images stay on the device (--no-resident: also there from host to
host).
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from PIL import Image

from cfi_jax.benchmark.harness import compare as compare_lib
from cfi_jax.benchmark.harness import (
  contenders,
  floors,
  ours,
  results,
  roofline,
  timing,
  torch_state,
  worker,
)
from cfi_jax.benchmark.harness.images import make_images, parse_size
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.core.types import InputError
from cfi_jax.fusion.rule_options import NAMES, is_rule
from cfi_jax.systems import files as weights
from cfi_jax.systems.files import load_fuser
from cfi_jax.weights import shipped

DEFAULT_SIZE = dict.fromkeys(("compare", "buckets", "rule"), "480x640") | {"large": "8192x8192"}
NO_LIMIT_MB = 1e6


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  if options.batch < 1:
    raise InputError(f"--batch={options.batch}; allowed: 1 or more")
  size = parse_size(options.size or DEFAULT_SIZE[options.study])
  report = STUDIES[options.study](options, size)
  return results.publish(report, options)


def compare(options: SimpleNamespace, size: tuple[int, int]) -> results.Report:
  """All contenders on one case."""
  usual = contenders.TORCH_NAMES["fuse"] * options.torch + contenders.JAX_NAMES["fuse"]
  names, notes = contenders.choose("fuse", usual, options)
  on_cpu = jax.default_backend() == "cpu"
  resident = not on_cpu if options.resident is None else options.resident
  floor = make_floor(options, size)
  with tempfile.TemporaryDirectory() as folder:
    write(options, size, pathlib.Path(folder))
    specs = [Spec("fuse", name, folder, options.dtype, resident) for name in names]
    limit = 1e-5 if on_cpu and options.dtype == "float32" else 5e-2
    outcomes = compare_lib.compare(specs, options, differ, lambda *_: limit)
  case = describe(options, size) | {"from": "device to device" if resident else "host to host"}
  notes += ["growth MB: above the resident size with libraries, weights and images loaded"]
  return compare_lib.report(outcomes, options, case, options.batch, floor, notes)


def describe(options: SimpleNamespace, size: tuple[int, int]) -> dict:
  """The sizes and settings that were measured."""
  return {
    "study": options.study,
    "batch": options.batch,
    "size": "x".join(map(str, size)),
    "dtype": options.dtype,
    "turns": options.turns,
  }


def make_floor(options: SimpleNamespace, size: tuple[int, int]) -> results.Floor:
  """The floor of fusing one batch on one device."""
  needed = floors.fuse_cost(
    ours.network(architecture(options.weights)), options.batch, *size, options.dtype
  )
  rates = roofline.measure(options.dtype, 1, options)
  return results.Floor(needed, rates, floors.SCHEDULE)


def architecture(path: str) -> Mapping[str, Any]:
  """The architecture of these weights."""
  return weights.load(path)[1].architecture


def write(options: SimpleNamespace, size: tuple[int, int], folder: pathlib.Path) -> None:
  """The contenders' files: images, weights, and for PyTorch those under the release's names."""
  variables, card = weights.load(options.weights)
  shutil.copyfile(shipped.resolve(options.weights), folder / "weights.safetensors")
  settings = {"model": card.architecture, "momentum": 0.9}  # the latter is for training
  (folder / "settings.json").write_text(json.dumps(settings))
  np.savez(folder / "state.npz", **torch_state.to_state(variables))
  np.savez(folder / "inputs.npz", **make_images(options.batch, *size))


def differ(reference: compare_lib.Output, output: compare_lib.Output) -> float:
  """The largest difference of a pixel."""
  return float(np.abs(reference["fused"] - output["fused"]).max())


def buckets(options: SimpleNamespace, size: tuple[int, int]) -> results.Report:
  """Times a larger window, and tiles, beside the exact window of one size."""
  images = [image[0] for image in make_images(1, *size).values()]
  cases = {"exact": 1.0, "bucket +5 %": 1.05, "bucket +12 %": 1.12}
  models, budget = {}, dict.fromkeys(cases, NO_LIMIT_MB)
  for name, factor in cases.items():
    models[name] = load_fuser(options.weights, dtype=options.dtype)
    models[name].reserve([tuple(round(n * factor / 4) * 4 for n in size)])
  models["tiles"], budget["tiles"] = (
    load_fuser(options.weights, dtype=options.dtype),
    options.tile_mb,
  )
  measures = {
    name: lambda n=name: timing.timed(lambda: models[n].fuse(*images, memory_mb=budget[n]))[1]
    for name in models
  }
  compiling = timing.take_turns(measures, 1)
  seconds = timing.take_turns(measures, options.turns)
  floor = make_floor(options, size)
  rows = tuple(
    results.Row(
      name=name,
      dtype=options.dtype,
      samples=1,
      seconds=timing.spread(own),
      speedup=timing.speedup(seconds["exact"], own, True),
      floor_seconds=floor.seconds,
      compile_seconds=compiling[name][0],
    )
    for name, own in seconds.items()
  )
  windows = {
    name: ", ".join("x".join(map(str, key[2:4])) for key in model.programs.compiled)
    for name, model in models.items()
  }
  case = describe(options, size) | {"tile_mb": options.tile_mb, "windows": windows}
  note = "compile s: the first call, with its run; host to host"
  return results.Report("fuse", case, rows, floor, (note,))


def rule(options: SimpleNamespace, size: tuple[int, int]) -> results.Report:
  """Times one pair by a rule, from arrays of 8 bits to an array, in grey and in colour."""
  if not is_rule(options.weights):
    raise InputError(f"--weights={options.weights}; --study=rule takes a rule: {NAMES}")
  fuser = load_fuser(options.weights, dtype=options.dtype)
  visible, infrared = ((255 * i[0]).astype(np.uint8) for i in make_images(1, *size).values())
  pictures = {"grey": visible, "colour": np.stack([visible, visible[::-1], 255 - visible], -1)}
  measures = {
    name: lambda n=name: timing.timed(lambda: fuser.fuse(pictures[n], infrared))[1]
    for name in pictures
  }
  compiling = timing.take_turns(measures, 1)
  seconds = timing.take_turns(measures, options.turns)
  moved = floors.Cost(flops=0.0, bytes=float(3 * visible.nbytes))  # two images in, one out
  floor = results.Floor(moved, roofline.measure(options.dtype, 1, options), "each image once")
  rows = tuple(
    results.Row(
      name=f"{options.weights}, {name}",
      dtype=options.dtype,
      samples=1,
      seconds=timing.spread(own),
      floor_seconds=floor.seconds,
      compile_seconds=compiling[name][0],
    )
    for name, own in seconds.items()
  )
  note = "compile s: the first call, with its run; host to host"
  return results.Report("fuse", describe(options, size) | {"batch": 1}, rows, floor, (note,))


def large(options: SimpleNamespace, size: tuple[int, int]) -> results.Report:
  """One huge colour pair with the default memory budget, files to file by the command."""
  floor = make_floor(options, size)
  with tempfile.TemporaryDirectory() as folder:
    paths = {name: pathlib.Path(folder, f"{name}.png") for name in ("visible", "infrared", "fused")}
    visible, infrared = ((255 * i[0]).astype(np.uint8) for i in make_images(1, *size).values())
    colour = np.stack([visible, visible[::-1], 255 - visible], -1)
    Image.fromarray(colour).save(paths["visible"], compress_level=1)
    Image.fromarray(infrared).save(paths["infrared"], compress_level=1)
    del visible, infrared, colour
    command = [sys.executable, "-m", "cfi_jax.fuse", f"--weights={options.weights}"]
    command += [f"--visible={paths['visible']}", f"--infrared={paths['infrared']}"]
    command += [f"--output={paths['fused']}", f"--dtype={options.dtype}"]
    (said, failure, peak), seconds = timing.timed(lambda: watch(command))
  row = results.Row(
    name="files to file",
    dtype=options.dtype,
    samples=1,
    seconds=timing.spread([seconds]),
    floor_seconds=floor.seconds,
    peak_mb=peak,
    failure=failure,
  )
  notes = (*said.splitlines(), "one run of python -m cfi_jax.fuse with start and compilation")
  case = describe(options, size) | {"turns": 1, "batch": 1}
  return results.Report("fuse", case, (row,), floor, notes)


def watch(command: list[str]) -> tuple[str, str | None, float]:
  """Runs a command; (what it printed, why it failed, its peak memory in MB)."""
  peak = 0.0
  with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
    process = subprocess.Popen(command, stdout=said, stderr=errors)
    while process.poll() is None:
      peak = max(peak, worker.peak_mb(process.pid))
      time.sleep(0.02)
    said.seek(0)
    errors.seek(0)
    failure = errors.read().strip()[-500:] if process.returncode else None
    return said.read().strip(), failure, peak


STUDIES = {"compare": compare, "buckets": buckets, "rule": rule, "large": large}
