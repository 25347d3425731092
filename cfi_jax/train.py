"""Training: from a config and a workdir to checkpoints, logs and pictures; resumes by itself."""

import dataclasses
import functools
import math
import pathlib
import sys
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import Mesh

from cfi_jax import data, logs, memory, optim, record, sharding
from cfi_jax.checkpoint import FOLDER, Checkpoints
from cfi_jax.config import Config
from cfi_jax.data import pipeline
from cfi_jax.data.source import Source
from cfi_jax.models import make_model
from cfi_jax.models.isfuse import MIN_SIDE
from cfi_jax.preemption import Preemption
from cfi_jax.state import TrainState, init_state
from cfi_jax.step import Metrics, Procedure, make_eval_step, make_train_step
from cfi_jax.types import InputError, Pair


@dataclasses.dataclass(frozen=True)
class Run:
  """What stays the same from the first step of a run to the last.

  sources: the splits "train" and, where the data set has held-out pairs, "validation".
  steps: the number of steps of the whole run.
  """

  config: Config
  workdir: pathlib.Path
  mesh: Mesh
  sources: dict[str, Source]
  steps: int
  procedure: Procedure

  def say(self, text: str) -> None:
    """Prints a line, once per run."""
    if jax.process_index() == 0:
      print(text, flush=True)


def train(config: Config, workdir: pathlib.Path) -> int:
  """Trains until the last step or until SIGTERM, going on from the last checkpoint in `workdir`.

  Returns the number of steps taken so far. Raises `InputError` before the first step for what the
  run cannot use, and `DivergedError` when a loss is not finite. Every process of a run calls this
  with the same arguments.
  """
  with Preemption() as preemption:
    run = open_run(config, workdir)
    run.say(f"{len(run.sources['train'])} training pairs, {run.steps} steps; compiling")
    train_step = compile_train_step(run)
    sharding.wait_for_processes()
    # Nothing is written before everything that can be refused has been looked at.
    if jax.process_index() == 0:
      record.write(workdir, config, describe(run.sources))
    with Checkpoints(workdir, config.checkpoint) as checkpoints:
      start = checkpoints.steps[-1] if checkpoints.steps else 0
      if start >= run.steps:
        run.say(f"{workdir} already holds step {start} of {run.steps}: nothing to do")
        return start
      if start:
        run.say(f"going on after step {start} from {workdir / FOLDER}")
        state = checkpoints.restore(initial_shapes(run), run.mesh)
      else:
        state = jax.jit(_initial(run), out_shardings=sharding.replicated(run.mesh))()
      done = _loop(run, start, state, train_step, checkpoints, preemption)
  if done < run.steps:
    run.say(f"SIGTERM: saved after step {done} of {run.steps}; the same command goes on from there")
  else:
    run.say(f"trained {run.steps} steps; checkpoints: {workdir / FOLDER}")
    run.say(f"pictures (visible | infrared | fused | gate): {workdir / logs.PICTURES}")
  return done


def open_run(config: Config, workdir: pathlib.Path) -> Run:
  """Checks the config, the images and that `workdir` holds no other run."""
  if config.input.crop < MIN_SIDE:
    raise InputError(f"input.crop is {config.input.crop}; the network needs {MIN_SIDE} or more")
  mesh = sharding.make_mesh(config.batch_size)
  make_model(config.model)  # refused before any file is looked at
  sources = open_sources(config)
  steps = config.steps or math.ceil(config.epochs * len(sources["train"]) / config.batch_size)
  procedure = make_procedure(config, steps)
  record.check(workdir, config, describe(sources))
  return Run(config, workdir, mesh, sources, steps, procedure)


def make_procedure(config: Config, steps: int) -> Procedure:
  """What the training step of a run of `steps` steps is made of."""
  return Procedure(
    model=make_model(config.model),
    optimizer=optim.make_optimizer(config.optim, steps),
    learning_rate=optim.learning_rate(config.optim, steps),
    loss=config.loss,
    masks=config.masks,
    seed=config.seed,
    momentum=config.batch_norm_momentum,
  )


def open_sources(config: Config) -> dict[str, Source]:
  """The splits to train and validate on; every file's header is checked.

  Where the data set holds no training pairs out, its "test" split is validated on, if it has one.
  """
  dataset = data.load(config.data)
  sources = {"train": dataset.source("train")}
  held_out = [split for split in ("validation", "test") if split in dataset.splits]
  if held_out:
    sources["validation"] = dataset.source(held_out[0])
  for source in sources.values():
    source.check_headers()
  return sources


def describe(sources: dict[str, Source]) -> dict[str, dict]:
  """What identifies the images of a run: per split the number of pairs and a hash of the files."""
  return {s: {"pairs": len(x), "sha256": x.fingerprint()} for s, x in sources.items()}


def _initial(run: Run) -> functools.partial:
  """The state before the first step, as a function of nothing."""
  config, procedure = run.config, run.procedure
  return functools.partial(
    init_state, procedure.model, procedure.optimizer, config.seed, config.input.crop
  )


def initial_shapes(run: Run) -> TrainState:
  """The shapes and dtypes of the state."""
  return jax.eval_shape(_initial(run))


def compile_train_step(run: Run) -> jax.stages.Compiled:
  """The jitted, donated, sharded step, compiled ahead; `InputError` if memory cannot hold it."""
  config, everywhere = run.config, sharding.replicated(run.mesh)
  step = jax.jit(make_train_step(run.procedure), donate_argnums=0, out_shardings=everywhere)
  shape = (config.batch_size, config.input.crop, config.input.crop, 1)
  images = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding.split(run.mesh))
  state = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), initial_shapes(run)
  )
  compiled = step.lower(state, Pair(visible=images, infrared=images)).compile()
  memory.check(
    compiled,
    config.memory_gb,
    f"give a smaller --config.batch_size (now {config.batch_size}) or --config.input.crop "
    f"(now {config.input.crop})",
  )
  return compiled


def _loop(
  run: Run,
  start: int,
  state: TrainState,
  train_step: jax.stages.Compiled,
  checkpoints: Checkpoints,
  preemption: Preemption,
) -> int:
  """Takes steps until the last or SIGTERM; returns how many have been taken."""
  config, steps = run.config, run.steps
  writer = Writer(run, start)
  with writer, _progress(run, start) as progress:
    for step, batch in enumerate(_batches(run, start), start=start + 1):
      state, metrics = train_step(state, sharding.to_devices(run.mesh, batch))
      writer.add(step, metrics)
      progress.update()
      stop = step == steps or preemption.reached(step - start)
      validate = step == steps or step % config.validate_every == 0
      if validate or stop or step % config.checkpoint.every == 0 or step % config.log_every == 0:
        # Only here the host waits for the device; and nothing is saved before it was seen finite.
        progress.set_postfix(loss=f"{writer.flush():.4f}", refresh=False)
      values = writer.validate(step, state) if validate else None
      if validate or stop or step % config.checkpoint.every == 0:
        checkpoints.save(state, step, values)
      if stop:
        return step
  return steps


def _batches(run: Run, start: int) -> Iterator[Pair]:
  """This process's rows of the batches from step `start` on."""
  return pipeline.train_batches(
    run.sources["train"],
    run.config.input,
    seed=run.config.seed,
    batch_size=run.config.batch_size,
    start=start,
    stop=run.steps,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def _progress(run: Run, start: int) -> tqdm.tqdm:
  """A bar over the steps; in a log file a line every half minute."""
  return tqdm.tqdm(
    desc="training",
    initial=start,
    total=run.steps,
    unit="step",
    disable=jax.process_index() != 0,
    mininterval=0.5 if sys.stderr.isatty() else 30,
  )


class Writer:
  """Owns the logs of a run under way: metrics of finished steps, and validation with pictures."""

  def __init__(self, run: Run, start: int):
    """Goes on after step `start`."""
    self._run = run
    self._logs = logs.Logs(run.workdir, start) if jax.process_index() == 0 else None
    self._pending: list[tuple[int, Metrics]] = []
    everywhere = sharding.replicated(run.mesh)
    eval_step = make_eval_step(
      run.procedure, run.config.validation_metrics, run.config.metric_convention
    )
    self._eval_step = jax.jit(eval_step, out_shardings=everywhere)
    self._since = time.perf_counter()

  def __enter__(self) -> "Writer":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Closes the files."""
    if self._logs:
      self._logs.__exit__(*exception)

  def add(self, step: int, metrics: Metrics) -> None:
    """Takes the metrics of a step that may still be running."""
    self._pending.append((step, metrics))

  def flush(self) -> float:
    """Waits for the steps added so far, checks that they are finite, and writes the rows due.

    Returns the last loss. Raises `DivergedError` naming the first step that is not finite.
    """
    fetched = jax.device_get([metrics for _, metrics in self._pending])
    seconds = (time.perf_counter() - self._since) / len(self._pending)
    speed = {"step_seconds": seconds, "samples_per_second": self._run.config.batch_size / seconds}
    for (step, _), metrics in zip(self._pending, fetched, strict=True):
      values = {name: float(value) for name, value in metrics.items()}
      logs.check_finite(step, values)
      due = step % self._run.config.log_every == 0 or step == self._run.steps
      if due and self._logs:
        self._logs.write("train", step, values | speed)
    self._pending.clear()
    self._since = time.perf_counter()
    return values["loss"]

  def validate(self, step: int, state: TrainState) -> dict[str, float] | None:
    """Means over held-out pairs of the objective, its parts and the metrics; and pictures.

    Pairs that a metric cannot measure are left out of its mean, and the metric where it can measure
    none. None where no pairs are held out.
    """
    parts: list[dict[str, np.ndarray]] = []
    left = self._run.config.pictures
    for names, values, pictures in self._validation(state):
      parts.append({name: value[: len(names)] for name, value in values.items()})
      for name, picture in zip(names[:left], pictures, strict=False):
        if self._logs:
          self._logs.picture(step, name, picture)
      left = max(0, left - len(names))
    if not parts:
      return None
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    metrics = {name: values.pop(name) for name in self._run.config.validation_metrics}
    means = {name: float(value.mean()) for name, value in values.items()}
    logs.check_finite(step, {f"validation {name}": value for name, value in means.items()})
    for name, value in metrics.items():
      if not np.isnan(value).all():
        means[name] = float(np.nanmean(value))
    if self._logs:
      self._logs.write("validation", step, means)
    self._since = time.perf_counter()
    return means

  def _validation(self, state: TrainState) -> Iterator[tuple]:
    """(names, parts of the objective, pictures) of each batch of validation pairs.

    Values and pictures beyond the names are repeats that fill the batch.
    """
    run = self._run
    if "validation" not in run.sources:
      return
    left = run.config.validation_pairs
    batches = pipeline.validation_batches(
      run.sources["validation"],
      run.config.input,
      batch_size=run.config.batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    for names, rows in batches:
      batch = sharding.to_devices(run.mesh, rows)
      yield names[:left], *jax.device_get(self._eval_step(state.variables, batch))
      left -= len(names)
      if left <= 0:
        return
