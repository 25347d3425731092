"""The input: batches per second of the pipeline alone, and how long training waits for them.

  python -m cfi_jax.benchmark input --config=configs/msrs.py --config.data.root=PATH --steps=100
  python -m cfi_jax.benchmark input --pairs=1083 --size=480x640 --batch=16 --dtype=bfloat16

--pairs writes so many grey PNG pairs of --size to a temporary folder and reads those (64 of 480x640
without --config). For each way of feeding (`INPUT_PATHS`), `pipeline` takes inputs one after the
other, with nothing else to do; `step` is the training step on inputs that are on the device; `loop`
is the trainer's way: next inputs, step, and at every `log_every` the host fetches the metrics. The
waiting share is the time blocked in the next inputs over the time of the loop; while a device still
has steps to do that waiting costs nothing, so compare `loop` with `step` too.
"""

import contextlib
import dataclasses
import math
import pathlib
import statistics
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import jax

from cfi_jax import systems
from cfi_jax.benchmark import subjects
from cfi_jax.benchmark.harness import (
  machine,
  ours,
  results,
  roofline,
  timing,
  worker,
)
from cfi_jax.benchmark.harness.images import parse_size, write_pairs
from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import System
from cfi_jax.engine.programs import TrainStep
from cfi_jax.engine.run import Run

FOLDER = dict(
  name="folder", visible="visible", infrared="infrared", validation_fraction=0.0, **naming.OPTIONS
)


# Ways of feeding the step, by the `input.device_gb` that chooses them.
INPUT_PATHS = {"host": 0.0, "device": math.inf}


@dataclasses.dataclass(frozen=True)
class Loop:
  """Seconds of the steps of a loop between two looks at the device, and blocked in waiting."""

  seconds: list[float]
  waited: float
  total: float


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  if options.steps < 2:
    raise InputError(f"--steps={options.steps}; allowed: 2 or more")
  names = options.paths
  for name in names:
    if name not in INPUT_PATHS:
      raise InputError(f"--paths: no way of feeding {name!r}; valid: {', '.join(INPUT_PATHS)}")
  values = ours.settings(options)
  with contextlib.ExitStack() as stack:
    if options.pairs or options.config is None:
      folder = stack.enter_context(tempfile.TemporaryDirectory())
      write_pairs(pathlib.Path(folder), options.pairs or 64, *parse_size(options.size))
      values["data"] = FOLDER | {"root": folder}
    report = measure(*systems.configure(values), names, options)
    return results.publish(report, options)


def measure(
  system: System, config: Config, names: list[str], options: SimpleNamespace
) -> results.Report:
  """All rows."""
  subject = subjects.find_fusing(config.system, "input")
  runs = {name: ours.open_run(system, config, INPUT_PATHS[name]) for name in names}
  first, batch = runs[names[0]], config.batch_size
  dtype, crop = config.model["dtype"], config.input.crop
  rates = roofline.measure(dtype, first.mesh.size, options)
  said = f"of a training step; {subject.SCHEDULE}"
  floor = results.Floor(subject.step_cost(config), rates, said)
  rows, notes = [], []
  for name, run in runs.items():
    program, compile_seconds = timing.timed(lambda run=run: ours.compile_step(run))
    loaded = worker.peak_mb()
    known = {
      "floor_seconds": floor.seconds,
      "compile_seconds": compile_seconds,
      "cost": roofline.xla_cost(program.compiled),
    }
    images, read_seconds = timing.timed(lambda run=run: ours.load(run))
    rows.append(_row(f"pipeline ({name})", config, pipeline_alone(run, options.steps)))
    state, alone = steps_alone(run, program, images, options)
    rows.append(_row(f"step ({name})", config, alone, **known))
    state, loop = train_loop(run, program, images, state, options.steps)
    memory = {"peak_mb": worker.peak_mb(), "device_peak_mb": machine.device_peak_mb()}
    memory["growth_mb"] = memory["peak_mb"] - loaded
    rows.append(
      dataclasses.replace(_row(f"loop ({name})", config, loop.seconds, **known), **memory)
    )
    share, each = loop.waited / loop.total, loop.total / options.steps
    times = each / statistics.median(alone)
    notes += [
      f"{name}: {ours.feed_of(run).description}; {read_seconds:.2f} s to put them there",
      f"{name}: {share:.1%} of the loop's {loop.total:.2f} s ({options.steps} steps) blocked in "
      f"the next inputs; a step of the loop takes {times:.2f}x a step alone",
      _whole_run(f"{name}: steps alone", statistics.median(alone), run),
      _whole_run(f"{name}: loop, measured directly", each, run),
    ]
  case = {
    "data": config.data["name"], "pairs": len(ours.feed_of(first).stream.source), "batch": batch,
    "size": f"{crop}x{crop}", "dtype": dtype, "steps": options.steps, "turns": options.turns,
    "log_every": config.log_every, "workers": config.input.workers,
    "threads": config.input.threads, "prefetch": config.input.prefetch,
  }  # fmt: skip
  return results.Report("input", case, tuple(rows), floor, tuple(notes))


def _row(name: str, config: Config, seconds: list[float], **known: Any) -> results.Row:
  spread = timing.spread(seconds)
  return results.Row(name, config.model["dtype"], config.batch_size, spread, **known)


def _whole_run(how: str, seconds: float, run: Run) -> str:
  return f"{how}: {run.steps * seconds:.1f} s for the whole run of {run.steps} steps"


def pipeline_alone(run: Run, steps: int) -> list[float]:
  """Seconds per step's inputs, from one to the next on the device, nothing else running.

  The first, which fills the buffers, is left out.
  """
  seconds = []
  began = time.perf_counter()
  for chunk in ours.chunks(run, steps + run.config.steps_per_dispatch):
    jax.block_until_ready(chunk.inputs)
    now = time.perf_counter()
    seconds.append((now - began) / chunk.count)
    began = now
  return seconds[1:]


def steps_alone(
  run: Run, program: TrainStep, images: Any, options: SimpleNamespace
) -> tuple[Any, list[float]]:
  """The state after, and seconds of a step: means of as many as last `worker.TURN_SECONDS`."""
  chunk = next(ours.chunks(run, run.config.steps_per_dispatch))
  state = run.initial_state()
  repeats, seconds = 1, []
  for turn in range(-2, options.turns):
    began = time.perf_counter()
    for _ in range(repeats):
      state, metrics = program(state, images, run.constants, chunk.inputs)
    jax.block_until_ready((state, metrics))
    taken = (time.perf_counter() - began) / (repeats * chunk.count)
    if turn >= 0:
      seconds.append(taken)
    elif turn == -1:
      wanted = math.ceil(worker.TURN_SECONDS / (taken * chunk.count))
      repeats = min(worker.MOST_REPEATS, max(1, wanted))
  return state, seconds


def train_loop(
  run: Run, program: TrainStep, images: Any, state: Any, steps: int
) -> tuple[Any, Loop]:
  """The state after, and the trainer's loop without its files."""
  seconds, waited, looked = [], 0.0, 0
  began = since = time.perf_counter()
  for chunk in ours.chunks(run, steps):
    state, metrics = program(state, images, run.constants, chunk.inputs)
    waited += chunk.waited
    if chunk.last % run.config.log_every == 0 or chunk.last == steps:
      jax.device_get(metrics)
      now = time.perf_counter()
      seconds.append((now - since) / (chunk.last - looked))
      since, looked = now, chunk.last
  return state, Loop(seconds, waited, time.perf_counter() - began)
