"""Bytes, memory and messages of the real programs, by the compilers of chips that are not there.

  python -m cfi_jax.benchmark compile --chip=v5e,h100 --output=FILE.json
  python -m cfi_jax.benchmark compile --config=configs/msrs.py --chip=v5e --chips=1,8,64
  python -m cfi_jax.benchmark compile --program=fuse --size=480x640 --dtype=float32 --batch=1

Without --config it takes the released recipe, bfloat16, 16 crops of 256x256 on every chip. Nothing
is run or timed but the compilers. They are those of the extra `aot`: XLA's for NVIDIA GPUs, and
Google's libtpu, which is under Google's terms. Chips: v5e, v5p, v6e, h100.

- bytes: through the chip's memory, with the padding of tiles; of a TPU as its compiler counts them,
  of a GPU, whose compiler does not, the operands and results of all that runs (harness/hlo.py);
- floor: bytes and FLOPs that the work needs, by the schedule of harness/floors.py;
- compiler ms: the compiler's own estimate of the time, which a TPU's makes; bandwidth ms: the bytes
  over the chip's bandwidth, or the floor's FLOPs over its rate where that is longer;
- samples/s: by the compiler's time, else by the bandwidth's; for several chips with their messages,
  at an ASSUMED latency for each and the links' bandwidth (harness/chips.py).

--effort trades the time of compiling for that of the program, and sets two options of JAX,
jax_exec_time_optimization_effort and jax_memory_fitting_effort. At -1 a step compiles in a minute
or two; at 0, JAX's default, for a TPU in ten, to other bytes (a tenth more or less), and libtpu
then gives no time that could be used. Compare figures of one effort and of one libtpu only.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import jax

from cfi_jax.benchmark import subjects
from cfi_jax.benchmark.harness import chips, floors, machine, ours, results
from cfi_jax.benchmark.harness.chips import Chip
from cfi_jax.benchmark.harness.estimate import Estimate, estimate
from cfi_jax.benchmark.harness.images import parse_size
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.benchmark.subjects import isfuse as subject
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import programs
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse import model as model_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference import ahead

RELEASED = {"batch": 16, "dtype": "bfloat16"}  # without --config
PROGRAMS = {"train": ("train",), "fuse": ("fuse",), "both": ("train", "fuse")}


@dataclasses.dataclass(frozen=True)
class Case:
  """A program to compile for `count` chips."""

  program: str
  chip: Chip
  count: int


def run(options: SimpleNamespace) -> int:
  """Compiles and reports; returns the exit status: 1 if a program cannot be compiled."""
  values, size = settings(options), parse_size(options.size)
  subjects.require(values.get("system", ""), "isfuse", "compile")
  config = config_lib.build(Config, values)
  if not -1 <= options.effort <= 1:
    raise InputError(f"--effort={options.effort}; allowed: -1 to 1")
  found = []
  for case in cases(options):
    with effort(options.effort):
      found.append(compile_case(case, config, size))
    print(f"{case.program} for {case.count} x {case.chip.name}: {found[-1].summary}", flush=True)
  used = {name: chips.CHIPS[name] for name in options.chip}
  report = {
    "command": options.command,
    "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    "versions": machine.versions(*sum(chips.PACKAGES.values(), ())),
    "effort": options.effort,
    "config": dataclasses.asdict(config),
    "size": size,
    "chips": {name: dataclasses.asdict(chip) for name, chip in used.items()},
    "programs": [one.to_json() for one in found],
  }
  results.write(report, table(report), options)
  return 1 if any(one.failure for one in found) else 0


def settings(options: SimpleNamespace) -> dict[str, Any]:
  """The values of the config, by `RELEASED` without --config."""
  if options.config is None:
    given = {name: getattr(options, name) or value for name, value in RELEASED.items()}
    options = SimpleNamespace(**vars(options) | given)
  return ours.settings(options)


def cases(options: SimpleNamespace) -> list[Case]:
  """All that is asked for; refuses chips without a compiler here, and numbers of chips."""
  found = []
  for name in options.chip:
    if name not in chips.CHIPS:
      raise InputError(f"--chip={name}; allowed: {', '.join(chips.CHIPS)}")
    chip = chips.CHIPS[name]
    for count in options.chips:
      if count not in map(str, chip.topologies):
        valid = ", ".join(map(str, chip.topologies))
        raise InputError(f"--chips={count} of {chip.name}; allowed: {valid}")
      found += [Case(program, chip, int(count)) for program in PROGRAMS[options.program]]
  for chip in {case.chip.name: case.chip for case in found}.values():
    chips.prepare(chip)
  return found


@contextlib.contextmanager
def effort(value: float) -> Iterator[None]:
  """Inside, XLA's compilers make that effort, and no program is kept for another time.

  JAX could not read from its cache what is for devices that are not there.
  """
  chosen = {
    "jax_exec_time_optimization_effort": value,
    "jax_memory_fitting_effort": value,
    "jax_persistent_cache_min_compile_time_secs": math.inf,
  }
  before = {name: getattr(jax.config, name) for name in chosen}
  try:
    for name, new in chosen.items():
      jax.config.update(name, new)
    yield
  finally:
    for name, old in before.items():
      jax.config.update(name, old)


def compile_case(case: Case, config: Config, size: tuple[int, int]) -> Estimate:
  """The estimate for a program; config.batch_size samples on every chip."""
  batch, mesh = config.batch_size, chips.make_mesh(case.chip, case.count)
  lower: Callable[[], jax.stages.Lowered]
  if case.program == "train":
    needed = subject.step_cost(config)
    whole = dataclasses.replace(config, batch_size=batch * case.count)
    lower = lambda: programs.lower_train_step(ours.make_run(isfuse, whole, mesh=mesh))  # noqa: E731
  else:
    dtype, architecture = config.model["dtype"], model_lib.architecture(config.model)
    needed = subject.fuse_cost(architecture, batch, *size, dtype)
    lower = lambda: ahead.lower_fuse(mesh, architecture, dtype, batch * case.count, size)  # noqa: E731
  empty = Estimate(case.program, case.chip, case.count, batch, needed)
  lowered, lowering = timed(lower)
  try:
    compiled, compiling = timed(lowered.compile)
  except jax.errors.JaxRuntimeError as error:
    return dataclasses.replace(empty, failure=str(error).splitlines()[0])
  return estimate(empty, compiled, lowering, compiling)


# Title, value of a program's JSON, format.
COLUMNS = (
  ("GB", lambda one: one["bytes"] / 1e9, "{:.1f}"),
  ("x floor", lambda one: one["times_floor"], "{:.1f}"),
  ("compiler ms", lambda one: 1e3 * (one["compiler_seconds"] or math.nan), "{:.1f}"),
  ("bandwidth ms", lambda one: one["bandwidth_seconds"] * 1e3, "{:.1f}"),
  ("samples/s", lambda one: one["samples_per_second"], "{:.4g}"),
  ("temporary GB", lambda one: one["memory"]["temporary"] / 1e9, "{:.2f}"),
  ("arguments GB", lambda one: one["memory"]["arguments"] / 1e9, "{:.2f}"),
  ("total GB", lambda one: one["memory"]["total"] / 1e9, "{:.2f}"),
  ("of memory", lambda one: one["memory"]["total"] / one["memory"]["chip"], "{:.0%}"),
  ("copies GB", lambda one: one["copies"][1] / 1e9, "{:.1f}"),
  ("host calls", lambda one: len(one["traffic"]["host"]), "{:d}"),
  ("compile s", lambda one: one["compile_seconds"], "{:.1f}"),
)


def table(report: dict[str, Any]) -> str:
  """A report's JSON as text."""
  config, size = report["config"], "x".join(map(str, report["size"]))
  model, crop, batch = config["model"], config["input"]["crop"], config["batch_size"]
  ways = ", ".join(f"{name}={model[name]}" for name in ("layout", "attention", "kernels"))
  lines = [
    f"$ {report['command']}",
    f"{report['date']}; estimates by compilers, nothing here was run on the chips named",
    ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    f"{model['features']} features, {model['dtype']}, {ways}; effort {report['effort']:g}",
    f"on every chip: train, {batch} samples of {crop}x{crop}; fuse, {batch} pairs of {size}",
  ]
  titles = ["program", "chip", "chips", *(title for title, _, _ in COLUMNS)]
  cells = [titles, *(_cells(one) for one in report["programs"] if not one["failure"])]
  widths = [max(len(line[i]) for line in cells) for i in range(len(titles))]
  for line in cells:
    aligned = [
      c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
    ]
    lines.append("  ".join(aligned).rstrip())
  for one in report["programs"]:
    lines.append(f"- {one['program']}, {one['chips']} x {one['chip']}: {_note(one)}")
    largest = [f"{name} {size / 1e9:.2f}" for name, size in list(one.get("scopes", {}).items())[:8]]
    lines += [f"- {one['program']}, GB by scope: {', '.join(largest)}"] if largest else []
  for chip in report["chips"].values():
    lines.append(
      f"- {chip['name']}: {chip['memory'] / 1e9:.0f} GB, {chip['bandwidth'] / 1e9:.0f} GB/s, "
      f"{chip['rate'] / 1e12:.0f} TFLOP/s ({chip['source']}); assumed {chip['latency'] * 1e6:.0f} "
      f"us a message"
    )
  return "\n".join([*lines, f"- {floors.SCHEDULE}"]) + "\n"


def _cells(one: dict[str, Any]) -> list[str]:
  first = [one["program"], one["chip"], str(one["chips"])]
  return first + [template.format(value(one)).replace("nan", "") for _, value, template in COLUMNS]


def _note(one: dict[str, Any]) -> str:
  """The floor, the messages and how bytes were counted; or the failure."""
  if one["failure"]:
    return f"failed: {one['failure']}"
  floor, sent = one["floor"], one["traffic"]
  kinds = ", ".join(f"{number} {kind}" for kind, number in sent["kinds"].items()) or "no messages"
  dtypes = ", ".join(f"{size / 1e6:.3f} MB of {dtype}" for dtype, size in sent["dtypes"].items())
  return (
    f"floor {floor['bytes'] / 1e9:.2f} GB, {floor['flops'] / 1e12:.2f} TFLOP; bytes by "
    f"{one['source']}, {one['bare'] / 1e9:.1f} GB without padding; "
    f"{kinds}{': ' if dtypes else ''}{dtypes}"
  )
