"""The input: batches per second of the pipeline alone, and how long training waits for them.

  python -m cfi_jax.benchmark input --config=configs/msrs.py --config.data.root=PATH --steps=100
  python -m cfi_jax.benchmark input --pairs=1083 --size=480x640 --batch=16 --dtype=bfloat16

--pairs writes so many grey PNG pairs of --size to a temporary folder and reads those (64 of 480x640
without --config). `pipeline` takes batches one after the other, with nothing else to do. `step` is
the training step on a batch that is on the device. `loop` is the trainer's way: next batch, to the
devices, step, and at every `log_every` the host fetches the metrics; for each way of feeding
(`INPUT_PATHS`). The waiting share is the time blocked in the next batch over the time of the loop;
while a device still has steps to do that waiting costs nothing, so compare `loop` with `step` too.
"""

import argparse
import contextlib
import dataclasses
import math
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from cfi_jax import config as config_lib
from cfi_jax import sharding
from cfi_jax import train as trainer
from cfi_jax.benchmark import floors, jax_contenders, machine, results, roofline, timing, worker
from cfi_jax.benchmark import settings as settings_lib
from cfi_jax.benchmark.images import parse_size, write_pairs
from cfi_jax.data import pipeline
from cfi_jax.state import TrainState
from cfi_jax.types import InputError, Pair

FOLDER = dict(name="folder", visible="visible", infrared="infrared", validation_fraction=0.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The flags of this part."""
  settings_lib.add_arguments(parser)
  parser.add_argument("--pairs", type=int, help="so many generated files instead of the data set")
  parser.add_argument("--size", default="480x640", help="HEIGHTxWIDTH of generated files")
  parser.add_argument("--steps", type=int, default=20, help="steps of each loop")
  parser.add_argument("--paths", default=",".join(INPUT_PATHS), help="ways of feeding, with commas")


def host(run: trainer.Run, stop: int) -> Iterator[Pair]:
  """Batches of the Grain pipeline, decoded and cut by the host, then copied to the devices."""
  batches = pipeline.train_batches(
    run.sources["train"],
    run.config.input,
    seed=run.config.seed,
    batch_size=run.config.batch_size,
    start=0,
    stop=stop,
  )
  return (sharding.to_devices(run.mesh, batch) for batch in batches)


# Ways of feeding the step: f(run, number of steps) -> batches on the devices.
INPUT_PATHS: dict[str, Callable[[trainer.Run, int], Iterator[Pair]]] = {"host": host}


@dataclasses.dataclass(frozen=True)
class Loop:
  """Seconds of the steps of a loop between two looks at the device, and blocked in waiting."""

  seconds: list[float]
  waited: float
  total: float


def run(options: argparse.Namespace) -> int:
  """Measures; returns the exit status."""
  if options.steps < 2:
    raise InputError(f"--steps={options.steps}; allowed: 2 or more")
  names = options.paths.split(",")
  for name in names:
    if name not in INPUT_PATHS:
      raise InputError(f"--paths: no way of feeding {name!r}; valid: {', '.join(INPUT_PATHS)}")
  values = settings_lib.read(options)
  with contextlib.ExitStack() as stack:
    if options.pairs or not options.config:
      folder = stack.enter_context(tempfile.TemporaryDirectory())
      write_pairs(pathlib.Path(folder), options.pairs or 64, *parse_size(options.size))
      values["data"] = FOLDER | {"root": folder}
    config = config_lib.build(config_lib.Config, values)
    sources = trainer.open_sources(config)
    pairs = len(sources["train"])
    steps = config.steps or math.ceil(config.epochs * pairs / config.batch_size)
    ready = dataclasses.replace(jax_contenders.make_run(config, steps), sources=sources)
    return results.publish(measure(ready, names, options), options)


def measure(ready: trainer.Run, names: list[str], options: argparse.Namespace) -> results.Report:
  """All rows of a run with open sources."""
  config, batch = ready.config, ready.config.batch_size
  dtype, crop = config.model["dtype"], config.input.crop
  rates = roofline.measure(dtype, ready.mesh.size, options)
  needed = floors.train_cost(
    settings_lib.network(config), config.loss.views, batch, crop, crop, dtype
  )
  floor = results.Floor(needed, rates, "of a training step; schedule: benchmark/floors.py")
  rows, notes = [], []
  for name in names:
    rows.append(_row(f"pipeline ({name})", config, pipeline_alone(ready, name, options.steps)))
  program, compile_seconds = timing.timed(lambda: trainer.compile_train_step(ready))
  loaded = worker.peak_mb()
  known = {
    "floor_seconds": floor.seconds,
    "compile_seconds": compile_seconds,
    "cost": roofline.xla_cost(program),
  }
  state, alone = steps_alone(ready, program, options)
  rows.append(_row("step", config, alone, **known))
  notes.append(_whole_run("steps alone", statistics.median(alone), ready))
  for name in names:
    state, loop = feed(ready, name, program, state, options.steps)
    rows.append(_row(f"loop ({name})", config, loop.seconds, **known))
    share, each = loop.waited / loop.total, loop.total / options.steps
    times = each / statistics.median(alone)
    notes.append(
      f"{name}: {share:.1%} of the loop's {loop.total:.2f} s ({options.steps} steps) blocked in "
      f"the next batch; a step of the loop takes {times:.2f}x a step alone"
    )
    notes.append(_whole_run(f"loop ({name}), measured directly", each, ready))
  memory = {"peak_mb": worker.peak_mb(), "device_peak_mb": machine.device_peak_mb()}
  memory["growth_mb"] = memory["peak_mb"] - loaded
  rows[-1] = dataclasses.replace(rows[-1], **memory)
  case = {
    "data": config.data["name"], "pairs": len(ready.sources["train"]), "batch": batch,
    "size": f"{crop}x{crop}", "dtype": dtype, "steps": options.steps, "turns": options.turns,
    "log_every": config.log_every, "workers": config.input.workers,
    "threads": config.input.threads, "prefetch": config.input.prefetch,
  }  # fmt: skip
  return results.Report("input", case, tuple(rows), floor, tuple(notes))


def _row(name: str, config: config_lib.Config, seconds: list[float], **known: Any) -> results.Row:
  spread = timing.spread(seconds)
  return results.Row(name, config.model["dtype"], config.batch_size, spread, **known)


def _whole_run(how: str, seconds: float, run: trainer.Run) -> str:
  return f"{how}: {run.steps * seconds:.1f} s for the whole run of {run.steps} steps"


def pipeline_alone(run: trainer.Run, name: str, steps: int) -> list[float]:
  """Seconds from one batch to the next, each on the device, nothing else running.

  The first, which fills the buffers, is left out.
  """
  seconds = []
  began = time.perf_counter()
  for batch in INPUT_PATHS[name](run, steps + 1):
    jax.block_until_ready(batch)
    now = time.perf_counter()
    seconds.append(now - began)
    began = now
  return seconds[1:]


def steps_alone(
  run: trainer.Run, program: jax.stages.Compiled, options: argparse.Namespace
) -> tuple[TrainState, list[float]]:
  """The state after, and seconds of a step: means of as many as last `worker.TURN_SECONDS`."""
  batch, state = next(INPUT_PATHS["host"](run, 1)), jax_contenders.initial_state(run)
  repeats, seconds = 1, []
  for turn in range(-2, options.turns):
    began = time.perf_counter()
    for _ in range(repeats):
      state, metrics = program(state, batch)
    jax.block_until_ready((state, metrics))
    taken = (time.perf_counter() - began) / repeats
    if turn >= 0:
      seconds.append(taken)
    elif turn == -1:
      repeats = min(worker.MOST_REPEATS, max(1, math.ceil(worker.TURN_SECONDS / taken)))
  return state, seconds


def feed(
  run: trainer.Run, name: str, program: jax.stages.Compiled, state: TrainState, steps: int
) -> tuple[TrainState, Loop]:
  """The state after, and the trainer's loop without its files, fed by `INPUT_PATHS[name]`."""
  batches = INPUT_PATHS[name](run, steps + 1)
  state, metrics = program(state, next(batches))
  jax.block_until_ready((state, metrics))
  seconds, waited, looked = [], 0.0, 0
  began = since = time.perf_counter()
  for step in range(1, steps + 1):
    asked = time.perf_counter()
    batch = next(batches)
    waited += time.perf_counter() - asked
    state, metrics = program(state, batch)
    if step % run.config.log_every == 0 or step == steps:
      jax.device_get(metrics)
      now = time.perf_counter()
      seconds.append((now - since) / (step - looked))
      since, looked = now, step
  return state, Loop(seconds, waited, time.perf_counter() - began)
