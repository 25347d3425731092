"""Training: from a config and a workdir to checkpoints, logs and pictures; resumes by itself."""

import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from cfi_jax import datasets
from cfi_jax.core.types import Array, InputError
from cfi_jax.data.source import Source
from cfi_jax.engine import dispatch, feed, memory, optim, sharding
from cfi_jax.engine.cluster.preemption import Preemption
from cfi_jax.engine.compilation import Cache, Compilations
from cfi_jax.engine.dispatch import Chunk
from cfi_jax.engine.feed import Resident, Streamed
from cfi_jax.engine.state import TrainState, init_state
from cfi_jax.engine.validation import Validation, compile_eval_step
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.writer import Writer
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import MIN_SIDE, make_model
from cfi_jax.systems.isfuse.step import Metrics, Procedure, make_train_step


@dataclasses.dataclass(frozen=True)
class Run:
  """What stays the same from the first step of a run to the last.

  sources: the splits "train" and, where the data set has held-out pairs, "validation".
  feed: where the training samples come from.
  steps: the number of steps of the whole run.
  """

  config: Config
  workdir: pathlib.Path
  mesh: Mesh
  sources: dict[str, Source]
  feed: Streamed | Resident
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
  with Preemption() as preemption, Compilations() as compilations:
    run, ready = get_ready(config, workdir, compilations)
    with Checkpoints(workdir, config.checkpoint) as checkpoints:
      start = checkpoints.steps[-1] if checkpoints.steps else 0
      if start >= run.steps:
        run.say(f"{workdir} already holds step {start} of {run.steps}: nothing to do")
        return start
      if start:
        run.say(f"going on after step {start} from {workdir / FOLDER}")
        state = checkpoints.restore(initial_shapes(run), run.mesh)
      else:
        state = initial_state(run)
      done = _loop(run, ready, start, state, checkpoints, preemption)
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
  headers = {split: source.check_headers() for split, source in sources.items()}
  chosen = feed.choose(
    sources["train"], headers["train"], config.input, seed=config.seed, batch_size=config.batch_size
  )
  steps = count_steps(config, len(sources["train"]))
  procedure = make_procedure(config, steps)
  record.check(workdir, config, describe(sources))
  return Run(config, workdir, mesh, sources, chosen, steps, procedure)


def count_steps(config: Config, pairs: int) -> int:
  """The steps of a run on so many training pairs."""
  return config.steps or math.ceil(config.epochs * pairs / config.batch_size)


def make_procedure(config: Config, steps: int) -> Procedure:
  """What the training step of a run of `steps` steps is made of."""
  return Procedure(
    model=make_model(config.model),
    optimizer=optim.make_optimizer(config.optim, steps),
    learning_rate=optim.learning_rate(config.optim, steps),
    loss=config.loss,
    masks=config.masks,
    seed=config.seed,
    statistics=config.statistics,
    ema_decay=config.optim.ema_decay,
    share_encodings=config.share_encodings,
    rematerialise=config.rematerialise,
  )


def open_sources(config: Config) -> dict[str, Source]:
  """The splits to train and validate on.

  Where the data set holds no training pairs out, its "test" split is validated on, if it has one.
  """
  dataset = datasets.load(config.data)
  sources = {"train": dataset.source("train")}
  held_out = [split for split in ("validation", "test") if split in dataset.splits]
  if held_out:
    sources["validation"] = dataset.source(held_out[0])
  return sources


def describe(sources: dict[str, Source]) -> dict[str, dict]:
  """What identifies the images of a run: per split the number of pairs and a hash of the files."""
  return {s: {"pairs": len(x), "sha256": x.fingerprint()} for s, x in sources.items()}


def initial_state(run: Run) -> TrainState:
  """The state before the first step, on all devices."""
  return jax.jit(_initial(run), out_shardings=sharding.replicated(run.mesh))(_seed(run))


def _initial(run: Run) -> Callable[[Array], TrainState]:
  """`initial_state` as a function of the seed, to be compiled or asked for its shapes."""
  procedure, crop = run.procedure, run.config.input.crop
  ema = run.config.optim.ema
  return lambda seed: init_state(procedure.model, procedure.optimizer, seed, crop, ema=ema)


def _seed(run: Run) -> jax.Array:
  """The run's seed, uint32 [], on all devices."""
  everywhere = sharding.replicated(run.mesh)
  return jax.make_array_from_process_local_data(everywhere, np.array(run.config.seed, np.uint32))


def initial_shapes(run: Run) -> TrainState:
  """The shapes and dtypes of the state."""
  return jax.eval_shape(_initial(run), jax.ShapeDtypeStruct((), np.uint32))


@dataclasses.dataclass(frozen=True)
class TrainStep:
  """The compiled program of up to `steps_per_dispatch` steps (`dispatch.make_program`).

  Called with state, images and inputs. Runs that differ in the seed alone share the program.
  """

  compiled: jax.stages.Compiled
  seed: jax.Array

  def __call__(self, state: TrainState, images: Any, inputs: Any) -> tuple[TrainState, Metrics]:
    """Takes the steps; the state is donated."""
    return self.compiled(state, images, inputs, self.seed)


def compile_train_step(run: Run) -> TrainStep:
  """The program of the run: jitted, donated, sharded, compiled ahead; `InputError` if memory cannot
  hold it.
  """
  config, most = run.config, run.config.steps_per_dispatch

  def program(state: TrainState, images: Any, inputs: Any, seed: Array):
    procedure = dataclasses.replace(run.procedure, seed=seed)
    steps = dispatch.make_program(make_train_step(procedure), run.feed.cut, most)
    return steps(state, images, inputs)

  step = jax.jit(program, donate_argnums=0, out_shardings=sharding.replicated(run.mesh))
  inputs, seed = dispatch.input_shapes(run.mesh, run.feed.item, most), _seed(run)
  state, images = _everywhere(run.mesh, (initial_shapes(run), run.feed.images))
  compiled = step.lower(state, images, inputs, seed).compile()
  memory.check(
    compiled,
    config.memory_gb,
    f"give a smaller --config.batch_size (now {config.batch_size}) or --config.input.crop "
    f"(now {config.input.crop}){run.feed.advice}",
  )
  return TrainStep(compiled, seed)


def compile_validation(run: Run) -> Validation | None:
  """The program that measures held-out pairs, compiled ahead too; None where there are none."""
  source = run.sources.get("validation")
  if source is None or not len(source):
    return None
  variables = _everywhere(run.mesh, initial_shapes(run).variables)
  program = compile_eval_step(run.config, run.mesh, run.procedure, variables)
  return Validation(run.config, run.mesh, source, program)


def _everywhere(mesh: Mesh, shapes: Any) -> Any:
  """Shapes as those of arrays that every device has a copy of."""
  where = sharding.replicated(mesh)
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes)


@dataclasses.dataclass(frozen=True)
class Ready:
  """What takes time to make and is there before the first step.

  train_step: of `compile_train_step`. images: what stays on the devices for it, of `Run.feed`.
  validation: None where no pairs are held out. compilations: counts on, for the logs.
  """

  train_step: TrainStep
  images: Any
  validation: Validation | None
  compilations: Compilations


def get_ready(
  config: Config, workdir: pathlib.Path, compilations: Compilations
) -> tuple[Run, Ready]:
  """Opens, compiles and reads all that a run needs, and makes the workdir its own."""
  with Cache(workdir) as cache:
    run = open_run(config, workdir)
    run.say(f"{len(run.sources['train'])} training pairs, {run.steps} steps")
    run.say(f"{run.feed.description}; compiling")
    began = time.perf_counter()
    train_step, validation = compile_train_step(run), compile_validation(run)
    seconds = time.perf_counter() - began
    run.say(f"compiled in {seconds:.0f} s{compilations.describe()}")
    images = run.feed.load(run.mesh)
    sharding.wait_for_processes()
    # Nothing is written before everything that can be refused has been looked at.
    if jax.process_index() == 0:
      record.write(workdir, config, describe(run.sources))
      cache.keep()
  return run, Ready(train_step, images, validation, compilations)


def _loop(
  run: Run,
  ready: Ready,
  start: int,
  state: TrainState,
  checkpoints: Checkpoints,
  preemption: Preemption,
) -> int:
  """Takes steps until the last or SIGTERM; returns how many have been taken."""
  config, steps = run.config, run.steps
  every = config.checkpoint.every
  with Writer(run.workdir, config, start, steps) as writer, _progress(run, start) as progress:
    for asked, chunk in enumerate(_chunks(run, start), start=1):
      step = chunk.last
      state, metrics = ready.train_step(state, ready.images, chunk.inputs)
      writer.add(chunk, metrics)
      progress.update(chunk.count)
      stop = step == steps or preemption.reached(asked)
      validate = step == steps or step % config.validate_every == 0
      if validate or stop or step % every == 0 or step % config.log_every == 0:
        # Only here the host waits for the device; and nothing is saved before it was seen finite.
        loss = writer.flush(ready.compilations.count)
        progress.set_postfix(loss=f"{loss:.4f}", refresh=False)
      values = writer.validate(step, state, ready.validation) if validate else None
      if validate or stop or step % every == 0:
        checkpoints.save(state, step, values)
      if stop:
        return step
  return steps


def _chunks(run: Run, start: int) -> Iterator[Chunk]:
  """The steps after `start`, with their inputs; none goes past a step that the loop looks at."""
  config = run.config
  most = config.steps_per_dispatch
  looks = (config.log_every, config.validate_every, config.checkpoint.every)
  ends = dispatch.ends(start, run.steps, most, looks)
  return dispatch.chunks(run.mesh, run.feed.items(start, run.steps), start, ends, most)


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
