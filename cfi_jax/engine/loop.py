"""Training: from a system, a config and a workdir to checkpoints, logs and pictures."""

import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax

from cfi_jax.core.progress import Progress
from cfi_jax.engine import dispatch, feed, programs, sharding, validation
from cfi_jax.engine.cluster.preemption import Preemption
from cfi_jax.engine.compilation import Compilations
from cfi_jax.engine.config import Config
from cfi_jax.engine.dispatch import Chunk
from cfi_jax.engine.procedure import State, System
from cfi_jax.engine.programs import TrainStep
from cfi_jax.engine.run import Run, open_run
from cfi_jax.engine.validation import Validation
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.lock import Lock


def train(system: System, config: Config, workdir: pathlib.Path) -> int:
  """Trains until the last step or until SIGTERM, going on from the last checkpoint in `workdir`.

  Returns the number of steps taken so far. Raises `InputError` before the first step for what the
  run cannot use, and `DivergedError` when a loss is not finite. Every process of a run calls this
  with the same arguments.
  """
  with Preemption() as preemption, Compilations() as compilations, Lock(workdir) as lock:
    run = open_run(system, config, workdir)
    ready = get_ready(run, compilations, lock)
    with Checkpoints(workdir, config.checkpoint) as checkpoints:
      start = checkpoints.steps[-1] if checkpoints.steps else 0
      if start >= run.steps:
        run.say(f"{workdir} already holds step {start} of {run.steps}: nothing to do")
        return start
      if start:
        run.say(f"going on after step {start} from {workdir / FOLDER}")
        state = checkpoints.restore(run.state_shapes(), run.mesh)
      else:
        state = run.initial_state()
      with jax.transfer_guard("disallow"):  # what moves between host and device is said in the code
        done = _loop(run, ready, start, state, checkpoints, preemption, lock)
  if done < run.steps:
    run.say(f"SIGTERM: saved after step {done} of {run.steps}; the same command goes on from there")
  else:
    run.say(f"trained {run.steps} steps; checkpoints: {workdir / FOLDER}")
    if run.held_out:
      run.say(f"pictures: {workdir / logs.PICTURES}")
  return done


@dataclasses.dataclass(frozen=True)
class Ready:
  """Values that take time to make and are there before the first step.

  canvases, constants: arrays that stay on the devices. validation: None without held-out samples.
  compilations: counts on, for the logs.
  """

  train_step: TrainStep
  validation: Validation | None
  canvases: Any
  constants: Any
  compilations: Compilations


def get_ready(run: Run, compilations: Compilations, lock: Lock) -> Ready:
  """Compiles and reads all that a run needs, and makes the workdir its own."""
  everywhere = sharding.replicated(run.mesh)
  first, *_ = run.feeds.values()
  run.say(f"{len(first.stream.source)} training pairs, {run.steps} steps")
  for each in (*run.feeds.values(), *([run.held_out] if run.held_out else [])):
    run.say(each.stream.source.description)
  for each in run.feeds.values():
    run.say(f"{each.description}{'; compiling' if each is first else ''}")
  began = time.perf_counter()
  constants = sharding.to_devices(everywhere, run.constants)
  train_step, evaluated = programs.compile_train_step(run), validation.prepare(run, constants)
  run.say(f"compiled in {time.perf_counter() - began:.0f} s{compilations.describe()}")
  canvases = {name: feed.load(run.mesh) for name, feed in run.feeds.items()}
  sharding.wait_for_processes()
  # Nothing is written before everything that can be refused has been looked at.
  if jax.process_index() == 0:
    lock.acquire()
    # Another run may have come and gone while this one compiled.
    record.check(run.workdir, run.config, run.identity, run.older, run.config.COMPUTED)
    record.write(run.workdir, run.config, run.identity)
  return Ready(train_step, evaluated, canvases, constants, compilations)


def _loop(
  run: Run,
  ready: Ready,
  start: int,
  state: State,
  checkpoints: Checkpoints,
  preemption: Preemption,
  lock: Lock,
) -> int:
  """Takes steps until the last or SIGTERM; returns how many have been taken."""
  config, steps = run.config, run.steps
  every = config.checkpoint.every
  told = Progress("training", "step", steps, done=start, shown=jax.process_index() == 0)
  with logs.Writer(run.workdir, config, start, steps) as writer, told as progress:
    for asked, chunk in enumerate(_chunks(run, start), start=1):
      step = chunk.last
      state, metrics = ready.train_step(state, ready.canvases, ready.constants, chunk.inputs)
      writer.add(chunk, metrics)
      progress.update(chunk.count)
      stop = step == steps or preemption.reached(asked)
      validate = step == steps or step % config.validate_every == 0
      if validate or stop or step % every == 0 or step % config.log_every == 0:
        # Only here the host waits for the device; and nothing is saved before it was seen finite.
        loss = writer.flush(ready.compilations.count)
        progress.note(f"loss {loss:.4f}")
      values = None
      if validate and ready.validation:
        means = ready.validation.measure(step, state)
        values = means.values
        writer.validated(step, means.values, means.pictures)
      lock.require()
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
  return dispatch.chunks(run.mesh, feed.items(run.feeds, start, run.steps), start, ends, most)
