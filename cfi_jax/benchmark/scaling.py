"""Predicted speed on many accelerators, from a count of what a step computes, moves and sends.

  python -m cfi_jax.benchmark scaling --output=FILE.json
  python -m cfi_jax.benchmark scaling --config=configs/msrs.py --config.model.features=128

Nothing is timed. A step of the config is compiled for 8 simulated CPU devices, and its collectives
are read from the program. Its arithmetic and its bytes through memory are those of floors.py. The
chips' rates are the manufacturers'. A prediction adds, for one step,

  compute: bytes / bandwidth or FLOPs / rate, whichever is longer, divided by --efficiency;
  communicate: 2 (n - 1) / n of the bytes over the slowest link, and a latency for each collective.

Every chip has --batch samples (weak scaling). The latencies are assumptions, see CHIPS.
"""

import dataclasses
import os
import time
from collections.abc import Sequence
from types import SimpleNamespace

import jax

from cfi_jax.benchmark.harness import collectives, machine, ours, results
from cfi_jax.benchmark.harness.collectives import Traffic
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine.run import Run
from cfi_jax.systems.isfuse.config import Config

DEVICES = 8  # simulated, to read the collectives from
COUNT_CROP = 32  # of the program they are read from: they do not depend on the images' size
COUNTS = (1, 8, 64, 256)
FORCE = "--xla_force_host_platform_device_count"


@dataclasses.dataclass(frozen=True)
class Chip:
  """Public figures of an accelerator; bytes and FLOPs per second of one chip.

  rate: dense, bfloat16. near: how many share the fast links. link, far_link: bandwidth of a chip
  among those, and beyond. latency, far_latency: seconds of one small all-reduce: ASSUMED, as no
  manufacturer publishes them.
  """

  name: str
  bandwidth: float
  rate: float
  near: int
  link: float
  far_link: float
  latency: float
  far_latency: float
  source: str


NVIDIA = "https://www.nvidia.com/en-us/data-center"
GOOGLE = "https://cloud.google.com/tpu/docs"
CHIPS = (
  Chip("H100 SXM", 3.35e12, 989e12, 8, 450e9, 50e9, 12e-6, 35e-6, f"{NVIDIA}/h100"),
  Chip("H200 SXM", 4.8e12, 989e12, 8, 450e9, 50e9, 12e-6, 35e-6, f"{NVIDIA}/h200"),
  Chip("TPU v5e", 819e9, 197e12, 256, 200e9, 200e9, 8e-6, 8e-6, f"{GOOGLE}/v5e"),
  Chip("TPU v5p", 2765e9, 459e12, 256, 600e9, 600e9, 8e-6, 8e-6, f"{GOOGLE}/v5p"),
)


@dataclasses.dataclass(frozen=True)
class Prediction:
  """One step on `count` chips. seconds: of a step; samples: per second, over all chips.

  share: of the time that is spent on communication.
  """

  chip: str
  count: int
  seconds: float
  samples: float
  share: float


def run(options: SimpleNamespace) -> int:
  """Counts and predicts; returns the exit status."""
  if not 0 < options.efficiency <= 1:
    raise InputError(f"--efficiency={options.efficiency}; allowed: above 0, up to 1")
  values = ours.settings(options)
  if options.batch is None and options.config is None:
    values["batch_size"], values["model"]["dtype"] = 16, options.dtype or "bfloat16"
  config = config_lib.build(Config, values)
  simulate_devices()
  needed = ours.step_cost(config)
  run_ = counted(values)
  sent = collectives.read(ours.compile_step(run_).compiled.as_text())
  found = [
    predict(chip, n, config.batch_size, needed, sent, options.efficiency)
    for chip in CHIPS
    for n in COUNTS
  ]
  text = table(options, config, needed, sent, found)
  report = {
    "command": options.command,
    "versions": machine.versions(),
    "parameters": ours.parameters(run_),
    "cost": dataclasses.asdict(needed),
    "traffic": dataclasses.asdict(sent),
    "chips": [dataclasses.asdict(chip) for chip in CHIPS],
    "predictions": [dataclasses.asdict(one) for one in found],
  }
  results.write(report, text, options)
  return 0


def counted(values: dict) -> Run:
  """The run on `DEVICES` simulated devices whose step's collectives are read."""
  if jax.device_count() != DEVICES or jax.default_backend() != "cpu":
    raise InputError(
      f"scaling counts on {DEVICES} simulated devices, but JAX has {jax.device_count()} of "
      f"{jax.default_backend()}; unset JAX_PLATFORMS and {FORCE} in XLA_FLAGS"
    )
  small = values | {"input": values["input"] | {"crop": COUNT_CROP}, "batch_size": DEVICES}
  small |= {
    "validation_metrics": (),
    "checkpoint": values["checkpoint"] | {"best": "loss", "direction": "lower"},
    "model": values["model"] | {"attention": "matmul"},
  }
  return ours.make_run(config_lib.build(Config, small))


def simulate_devices() -> None:
  """Before JAX looks for devices: takes CPUs, as many as are wanted."""
  os.environ["JAX_PLATFORMS"] = "cpu"
  jax.config.update("jax_platforms", "cpu")
  if FORCE not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FORCE}={DEVICES}"


def predict(
  chip: Chip, count: int, batch: int, needed: Cost, sent: Traffic, efficiency: float
) -> Prediction:
  """A step of `batch` samples on each of `count` chips; see the module's docstring."""
  compute = max(needed.bytes / chip.bandwidth, needed.flops / chip.rate) / efficiency
  near = count <= chip.near
  link, latency = (chip.link, chip.latency) if near else (chip.far_link, chip.far_latency)
  number = sum(sent.kinds.values())
  talk = 0.0 if count == 1 else 2 * (count - 1) / count * sent.bytes / link + number * latency
  seconds = compute + talk
  return Prediction(chip.name, count, seconds, batch * count / seconds, talk / seconds)


def table(
  options: SimpleNamespace,
  config: Config,
  needed: Cost,
  sent: Traffic,
  found: Sequence[Prediction],
) -> str:
  """The counts and predictions, as text."""
  views, crop = 1 + len(config.loss.views), config.input.crop
  each = config.batch_size * views
  kinds = ", ".join(f"{number} {kind}" for kind, number in sent.kinds.items())
  lines = [
    f"$ {options.command}",
    f"{time.strftime('%Y-%m-%d')}; nothing here is measured on the chips named",
    f"per chip and step: {config.batch_size} samples of {crop}x{crop}, {views} views, "
    f"{config.model['features']} features, {config.model['dtype']}",
    f"per sample and view: {needed.flops / each / 1e9:.2f} GFLOP, {needed.bytes / each / 1e6:.1f} "
    f"MB ({needed.flops / needed.bytes:.0f} FLOP per byte)",
    f"collectives of a step, {DEVICES} devices, XLA for CPU: {kinds}; {sent.bytes / 1e6:.2f} MB",
    f"{'chip':<10}{'chips':>6}{'ms a step':>11}{'samples/s':>11}{'communication':>15}",
  ]
  for one in found:
    lines.append(
      f"{one.chip:<10}{one.count:>6}{one.seconds * 1e3:>11.2f}{one.samples:>11.0f}"
      f"{one.share:>15.0%}"
    )
  lines.append(f"- computing at {options.efficiency:.0%} of the speed of the floor")
  lines += [
    f"- {chip.name}: {chip.bandwidth / 1e9:.0f} GB/s, {chip.rate / 1e12:.0f} TFLOP/s ({chip.source}"
    f"); assumed {chip.latency * 1e6:.0f} us an all-reduce, {chip.far_latency * 1e6:.0f} us beyond "
    f"{chip.near} chips"
    for chip in CHIPS
  ]
  return "\n".join(lines) + "\n"
