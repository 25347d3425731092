"""Fusing: exact whole images, the price of sharing programs and of tiles, and one huge pair.

  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --torch --output=FILE.json
  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --study=buckets
  python -m cfi_jax.benchmark fuse --weights=isfuse.safetensors --study=large  # 8192x8192, in tiles
  python -m cfi_jax.benchmark fuse --weights=wavelet --study=rule  # a rule without training
  python -m cfi_jax.benchmark fuse --config=configs/amgfuse.py --size=168x168 --torch
  python -m cfi_jax.benchmark fuse --weights=medical --contenders=cfi_jax,stablehlo,onnx,torch_eager

`compare` measures `cfi_jax.load(...).fuse` and the flax graph that training uses (of AMG-Fuse with
all its outputs), with --torch also the same network in PyTorch, of any architecture, with the same
weights, eager and compiled (channels-last). --config instead of --weights takes the network of a
config before training; its ways of computing, where AMG-Fuse's has several, are those of the graph.
They must give the same images first: to 1e-5 in float32 on a CPU, else to 5e-2; `difference` is
the largest of a pixel. AMG-Fuse's in float32 are not alike pixel by pixel, as rounding exchanges
some in sorts: `difference` is the mean over the standard deviation, allowed 5e-2, else 0.2.
On a CPU the time is from float32 arrays to a float32 array in the host's memory; on an accelerator
the images stay on the device (--no-resident: also there from host to host).
The contenders stablehlo and onnx are what python -m cfi_jax.export writes of the same weights, for
images of this size.
`buckets` and `large` are of ISFuse.
"""

import json
import pathlib
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

from cfi_jax import systems
from cfi_jax.benchmark import subjects
from cfi_jax.benchmark.harness import compare as compare_lib
from cfi_jax.benchmark.harness import (
  contenders,
  exports,
  floors,
  results,
  roofline,
  timing,
  worker,
)
from cfi_jax.benchmark.harness.images import make_images, parse_size
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.core.types import InputError
from cfi_jax.fusion.rule_options import NAMES, is_rule
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.systems import files as weights
from cfi_jax.systems.files import Card, load_fuser

DEFAULT_SIZE = dict.fromkeys(("compare", "buckets", "rule"), "480x640") | {"large": "8192x8192"}
NO_LIMIT_MB = 1e6


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  if options.batch < 1:
    raise InputError(f"--batch={options.batch}; allowed: 1 or more")
  size = parse_size(options.size or DEFAULT_SIZE[options.study])
  if options.study != "compare" and options.config is not None:
    raise InputError(f"--study={options.study} takes --weights")
  if options.study == "rule":
    return results.publish(rule(options, size), options)
  variables, card = network(options)
  if options.study != "compare":
    subjects.require(card.system, "isfuse", f"fuse --study={options.study}")
  report = STUDIES[options.study](options, size, variables, card)
  return results.publish(report, options)


def network(options: SimpleNamespace) -> tuple[Mapping, Card]:
  """Variables and card of --weights, or of the network of --config before training."""
  if (options.weights is None) == (options.config is None):
    raise InputError("fuse takes one of --weights and --config")
  if options.weights is not None:
    return weights.load(options.weights)
  system, config = systems.configure(options.config)
  state = jax.jit(system.procedure(config, 1).init)(jax.random.key(config.seed))
  variables, architecture = system.product(config, jax.device_get(state))
  return variables, Card(config.system, architecture, "none: before training", "none", "", "")


def compare(
  options: SimpleNamespace, size: tuple[int, int], variables: Mapping, card: Card
) -> results.Report:
  """All contenders on one case."""
  subject = subjects.find_fusing(card.system, "fuse")
  usual = contenders.TORCH_NAMES["fuse"] * options.torch + contenders.JAX_NAMES["fuse"]
  names, notes = contenders.choose("fuse", usual, options)
  on_cpu = jax.default_backend() == "cpu"
  resident = not on_cpu if options.resident is None else options.resident
  floor = make_floor(options, size, card)
  with tempfile.TemporaryDirectory() as folder:
    write(variables, card, options.batch, size, pathlib.Path(folder), ways_of(options))
    channels = subject.CHANNELS["visible"]
    notes += exports.write(names, pathlib.Path(folder), size, channels, options.dtype)
    specs = [Spec("fuse", name, folder, options.dtype, resident) for name in names]
    limit = subject.fuse_tolerance(exact=on_cpu and options.dtype == "float32")
    outcomes = compare_lib.compare(
      specs, options, lambda a, b: subject.differ(a["fused"], b["fused"]), lambda *_: limit
    )
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


def make_floor(options: SimpleNamespace, size: tuple[int, int], card: Card) -> results.Floor:
  """The floor of fusing one batch on one device."""
  subject = subjects.find_fusing(card.system, "fuse")
  needed = subject.fuse_cost(card.architecture, options.batch, *size, options.dtype)
  return results.Floor(needed, roofline.measure(options.dtype, 1, options), subject.SCHEDULE)


def ways_of(options: SimpleNamespace) -> dict[str, Any]:
  """Fields of the model of --config, among them the ways of computing; none without it."""
  return {} if options.config is None else options.config["model"]


def write(
  variables: Mapping,
  card: Card,
  batch: int,
  size: tuple[int, int],
  folder: pathlib.Path,
  ways: Mapping[str, Any],
) -> None:
  """The contenders' files: images, weights, and for PyTorch those under its names."""
  subject = subjects.find_fusing(card.system, "fuse")
  weights.save(folder / "weights.safetensors", variables, card)
  settings = {"system": card.system, "model": card.architecture, "ways": ways}
  settings["momentum"] = 0.9  # for training
  (folder / "settings.json").write_text(json.dumps(settings))
  images = subject.images(batch, *size)
  np.savez(folder / "state.npz", **subject.torch_state(variables, card.architecture))
  np.savez(folder / "inputs.npz", **{name: images[name] for name in MODALITIES})


def buckets(
  options: SimpleNamespace, size: tuple[int, int], variables: Mapping, card: Card
) -> results.Report:
  """Times a larger window, and tiles, beside the exact window of one size."""
  del variables
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
  floor = make_floor(options, size, card)
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
  if options.weights is None or not is_rule(options.weights):
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


def large(
  options: SimpleNamespace, size: tuple[int, int], variables: Mapping, card: Card
) -> results.Report:
  """One huge colour pair with the default memory budget, files to file by the command."""
  del variables
  floor = make_floor(options, size, card)
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


STUDIES = {"compare": compare, "buckets": buckets, "large": large}  # of networks
