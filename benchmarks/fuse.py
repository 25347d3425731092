"""Speed and memory of fusing, side by side with a plain PyTorch network of the same weights.

  python benchmarks/fuse.py --weights=isfuse.safetensors --output=benchmarks/results/fuse_cpu.txt
  python benchmarks/fuse.py --weights=isfuse.safetensors --part=large    # 8192x8192, in tiles
  python benchmarks/fuse.py --weights=isfuse.safetensors --part=buckets  # the price of sharing

Each contender is a process of its own. They are first compared for equality, then timed in turn,
one run each, again and again, so that whatever else the machine does meets all alike; ratios are
medians of the ratios within a turn. The time is from float32 arrays to a float32 array in the
host's memory. Memory is the peak resident size of the whole process, program and libraries
included, and its growth from the moment the network was loaded. Needs the extra `torch` for part
"compare"; with a GPU and its builds of both, --size, --batch and --dtype choose the case.
"""

import argparse
import importlib.metadata
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from contenders import CONTENDERS, ROOT, Worker, make_inputs

TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-2}
PACKAGES = ("cfi_jax", "jax", "jaxlib", "torch", "numpy")


def compare(options: argparse.Namespace) -> list[str]:
  """All contenders on one case: equality, then paired timings, then memory."""
  with tempfile.TemporaryDirectory() as folder:
    state = pathlib.Path(folder, "state.npz")
    _write_state(options.weights, state)
    workers = [Worker(name, options, str(state)) for name in options.contenders]
    lines = [
      f"batch {options.batch}, {options.size[0]}x{options.size[1]}, {options.dtype}, "
      f"{options.turns} turns; reference of the ratios: {options.contenders[0]}"
    ]
    lines += _equality(workers, pathlib.Path(folder), TOLERANCE[options.dtype])
  lines += _timings(workers, options.turns)
  pixels = options.batch * options.size[0] * options.size[1]
  moved = floor_bytes(pixels, options.dtype) / 1e6
  lines.append(f"floor: {moved:.0f} MB moved if every map is written once and read once per use")
  for worker in workers:
    worker.close()
  return lines


def _write_state(weights_path: str, path: pathlib.Path) -> None:
  """The weights under the release's names, for the PyTorch contenders."""
  from cfi_jax import weights
  from cfi_jax.models import torch_names

  np.savez(path, **torch_names.to_torch(weights.load(weights_path)[0]))


def _equality(workers: list[Worker], folder: pathlib.Path, tolerance: float) -> list[str]:
  lines, first = [], None
  for worker in workers:
    path = folder / f"{worker.name}.npy"
    worker.ask(f"save {path}")
    result = np.load(path)
    first = result if first is None else first
    difference = np.abs(result - first).max()
    if not difference <= tolerance:
      raise SystemExit(f"{worker.name} differs from {workers[0].name} by {difference}")
    lines.append(f"{worker.name:14} largest difference {difference:.1e}")
  return lines


def _timings(workers: list[Worker], turns: int) -> list[str]:
  for worker in workers:  # warm
    worker.ask("run")
  times = {worker.name: [] for worker in workers}
  for _ in range(turns):
    for worker in workers:
      times[worker.name].append(float(worker.ask("run")))
  lines = [
    f"{'':14} {'median':>8} {'quartiles':>17} {'speed-up':>9} {'peak MB':>8} {'growth MB':>9}"
  ]
  for worker in workers:
    own = times[worker.name]
    low, middle, high = statistics.quantiles(own, n=4)
    ratio = statistics.median(a / b for a, b in zip(times[workers[0].name], own, strict=True))
    peak, growth = map(float, worker.ask("peak").split())
    lines.append(
      f"{worker.name:14} {middle:7.3f}s {low:7.3f}s-{high:7.3f}s {ratio:8.2f}x {peak:8.0f} "
      f"{growth:9.0f}"
    )
  return lines


def floor_bytes(pixels: int, dtype: str, channels: int = 32) -> float:
  """Bytes of a schedule in which each convolution with its BatchNorm and LeakyReLU is one pass.

  Maps of `channels` written or read at full size: each encoder writes two and reads one and for
  pooling, attention and the mix four more; CFI writes and reads complementary, mixed and refined;
  the decoder writes three and reads three; the coarser levels add 1/4 + 1/16 of about as much.
  """
  maps = 2 * (2 + 1 + 3) + 6 + 6
  return maps * (1 + 1 / 4 + 1 / 16) * pixels * channels * {"float32": 4, "bfloat16": 2}[dtype]


def large(options: argparse.Namespace) -> list[str]:
  """One 8192x8192 colour pair with the default memory budget, files to file by the command."""
  from PIL import Image

  side = options.size[0] if options.size[0] > 1000 else 8192
  with tempfile.TemporaryDirectory() as folder:
    paths = {name: pathlib.Path(folder, f"{name}.png") for name in ("visible", "infrared", "fused")}
    visible, infrared = ((255 * i[0]).astype(np.uint8) for i in make_inputs(1, side, side))
    colour = np.stack([visible, visible[::-1], 255 - visible], -1)
    Image.fromarray(colour).save(paths["visible"], compress_level=1)
    Image.fromarray(infrared).save(paths["infrared"], compress_level=1)
    del visible, infrared, colour
    command = [sys.executable, "-m", "cfi_jax.fuse", f"--weights={options.weights}"]
    command += [f"--visible={paths['visible']}", f"--infrared={paths['infrared']}"]
    command += [f"--output={paths['fused']}"]
    began = time.perf_counter()
    report = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    seconds = time.perf_counter() - began
    with Image.open(paths["fused"]) as fused:
      shape = f"{fused.size} {fused.mode}"
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
  return [
    f"{side}x{side} colour pair: {report.strip()}",
    f"written: {shape}",
    f"peak resident {peak:.0f} MB, {seconds:.0f} s with start and compilation",
  ]


def buckets(options: argparse.Namespace) -> list[str]:
  """What a larger window, and tiles, cost compared with the exact window of one size."""
  from cfi_jax import load

  height, width = options.size
  images = [i[0] for i in make_inputs(1, height, width)]
  cases = {"exact": None, "bucket +5 %": 1.05, "bucket +12 %": 1.12}
  models = {}
  for name, factor in cases.items():
    models[name] = load(options.weights)
    models[name].reserve([tuple(round(n * (factor or 1) / 4) * 4 for n in (height, width))])
  budget = {name: 1e6 for name in cases}
  models["tiles"], budget["tiles"] = load(options.weights), options.tile_mb
  times = {name: [] for name in models}
  for turn in range(options.turns + 2):
    for name, model in models.items():
      began = time.perf_counter()
      model.fuse(*images, memory_mb=budget[name])
      if turn >= 2:
        times[name].append(time.perf_counter() - began)
  lines = [f"{height}x{width}, {options.turns} turns, tiles within {options.tile_mb} MB"]
  for name, own in times.items():
    ratio = statistics.median(a / b for a, b in zip(own, times["exact"], strict=True))
    shapes = ", ".join("x".join(map(str, key[2:4])) for key in models[name].programs.compiled)
    lines.append(
      f"{name:14} {statistics.median(own):7.3f}s {ratio:6.2f}x the exact time  ({shapes})"
    )
  return lines


def machine() -> list[str]:
  """Where and with what this was measured."""
  cpu = platform.processor() or platform.machine()
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    cpu = f"{len(names)} x {names[0].split(':')[1].strip()}" if names else cpu
  versions = []
  for name in PACKAGES:
    try:
      versions.append(f"{name} {importlib.metadata.version(name)}")
    except importlib.metadata.PackageNotFoundError:
      versions.append(f"{name} absent")
  return [f"{time.strftime('%Y-%m-%d %H:%M')}, {cpu}, {platform.platform()}", ", ".join(versions)]


PARTS = {"compare": compare, "large": large, "buckets": buckets}


def main() -> None:
  """Parses the options, runs one part, prints and stores its table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--weights", required=True)
  parser.add_argument("--part", choices=PARTS, default="compare")
  parser.add_argument("--size", nargs=2, type=int, default=[480, 640])
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
  parser.add_argument("--turns", type=int, default=15)
  parser.add_argument("--tile_mb", type=float, default=64)
  parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
  parser.add_argument("--output", help="file that the table is appended to")
  options = parser.parse_args()
  options.weights = str(pathlib.Path(options.weights).resolve())
  command = "python benchmarks/fuse.py " + " ".join(sys.argv[1:])
  text = "\n".join([f"$ {command}", *machine(), *PARTS[options.part](options)]) + "\n"
  print(text)
  if options.output:
    path = pathlib.Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
      file.write(text + "\n")


if __name__ == "__main__":
  main()
