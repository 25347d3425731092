"""Training: from a system, a config and a workdir to checkpoints, logs and pictures."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from cfi_jax.core import files
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import StorageError
from cfi_jax.engine import dispatch, feed, programs, sharding, validation
from cfi_jax.engine.cluster.preemption import SIGNALS, Preemption
from cfi_jax.engine.compilation import Compilations
from cfi_jax.engine.config import Config, profiled
from cfi_jax.engine.dispatch import Chunk
from cfi_jax.engine.goodput import Goodput
from cfi_jax.engine.procedure import State, System
from cfi_jax.engine.profile import Profile
from cfi_jax.engine.programs import TrainStep
from cfi_jax.engine.run import Run, open_run
from cfi_jax.engine.validation import Validation
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.damage import DAMAGED, set_aside_unreadable
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.mirror import Mirror


class Steps(int):
  """A number of steps taken. whole: whether these are all steps of the run."""

  whole: bool

  @classmethod
  def of(cls, taken: int, run: Run) -> "Steps":
    """The steps taken of a run."""
    steps = cls(taken)
    steps.whole = taken >= run.steps
    return steps


def train(system: System, config: Config, workdir: pathlib.Path) -> Steps:
  """Trains until the last step or until a signal, going on from the last checkpoint in `workdir`.

  Returns the number of steps taken so far. Raises `InputError` before the first step for what the
  run cannot use, `StorageError` when nothing more can be written, and `DivergedError` when a loss
  is not finite. Every process of a run calls this with the same arguments.
  """
  goodput = Goodput()
  with Preemption() as preemption, Compilations() as compilations, Lock(workdir) as lock:
    run = open_run(system, config, workdir)
    ready = get_ready(run, compilations, lock, goodput)
    try:
      with take_workdir(run, lock) as mirror:
        return Steps.of(_go_on(run, ready, preemption, lock, mirror), run)
    except (OSError, StorageError) as error:
      reason = error if isinstance(error, StorageError) else files.accident(error, workdir)
      if reason is None:
        raise
      raise StorageError(
        f"{reason}; what was saved before is whole, and the same command goes on from there"
      ) from error


@dataclasses.dataclass(frozen=True)
class Ready:
  """Values that take time to make and are there before the first step.

  canvases, constants: arrays that stay on the devices. validation: None without held-out samples.
  compilations, goodput: count on, for the logs.
  """

  train_step: TrainStep
  validation: Validation | None
  canvases: Any
  constants: Any
  compilations: Compilations
  goodput: Goodput


def get_ready(
  run: Run, compilations: Compilations, lock: Lock, goodput: Goodput | None = None
) -> Ready:
  """Compiles and reads all that a run needs, and makes the workdir its own.

  goodput: the times of the run so far.
  """
  goodput = Goodput() if goodput is None else goodput
  everywhere = sharding.replicated(run.mesh)
  first, *_ = run.feeds.values()
  run.say(f"{len(first.stream.source)} training pairs, {run.steps} steps")
  for each in (*run.feeds.values(), *([run.held_out] if run.held_out else [])):
    run.say(each.stream.source.description)
  for each in run.feeds.values():
    run.say(f"{each.description}{'; compiling' if each is first else ''}")
  began = time.perf_counter()
  constants = sharding.to_devices(everywhere, run.constants)
  with goodput.during("compiling"):
    train_step, evaluated = programs.compile_train_step(run), validation.prepare(run, constants)
  run.say(f"compiled in {time.perf_counter() - began:.0f} s{compilations.describe()}")
  with goodput.during("input"):
    canvases = {name: feed.load(run.mesh) for name, feed in run.feeds.items()}
  sharding.wait_for_processes("compiled")
  # Nothing is written before everything that can be refused has been looked at.
  if jax.process_index() == 0:
    lock.acquire()
    # Another run may have come and gone while this one compiled.
    record.check(run.workdir, run.identity)
    record.write(run.workdir, run.identity)
  return Ready(train_step, evaluated, canvases, constants, compilations, goodput)


def take_workdir(run: Run, lock: Lock) -> Mirror:
  """The folder that the run works in, without checkpoints that Orbax cannot list."""
  mirror = Mirror(run.workdir, lock.require) if jax.process_index() == 0 else None
  if mirror is not None:
    for line in set_aside_unreadable(mirror.folder, run.config.checkpoint):
      run.say(f"{line}; moved to {run.workdir / DAMAGED}")
    mirror.sync()
  sharding.wait_for_processes("workdir ready")
  return mirror or Mirror(run.workdir, lock.require)


def _go_on(run: Run, ready: Ready, preemption: Preemption, lock: Lock, mirror: Mirror) -> int:
  """Takes the steps after the newest whole checkpoint; returns how many have been taken."""
  folder, options = run.workdir / FOLDER, run.config.checkpoint
  about, alone = record.about(run.identity), mirror.is_copy
  with Checkpoints(mirror.folder, options, alone=alone, about=about) as checkpoints:
    start, state = _restore(run, checkpoints)
    if start >= run.steps:
      run.say(f"{run.workdir} already holds step {start} of {run.steps}: nothing to do")
      return start
    if start:
      run.say(f"going on after step {start} from {folder}")
    preemption.begin()
    with jax.transfer_guard("disallow"):  # what moves between host and device is said in the code
      done = _loop(run, ready, start, state, checkpoints, preemption, lock, mirror)
    with ready.goodput.during("saving"):  # what is still on its way to the disk
      checkpoints.wait()
  run.say(ready.goodput.describe())
  if done < run.steps:
    signal = preemption.asked_by or SIGNALS[0]  # another process may have heard it
    run.say(
      f"{signal}: saved after step {done} of {run.steps}; the same command goes on from there"
    )
  else:
    run.say(f"trained {run.steps} steps; checkpoints: {folder}")
    if run.held_out:
      run.say(f"pictures: {run.workdir / logs.PICTURES}")
  return done


def _restore(run: Run, checkpoints: Checkpoints) -> tuple[int, State]:
  """The number of steps taken and the state after them: of the newest whole checkpoint, if any."""
  if not checkpoints.steps:
    return 0, run.initial_state()
  start, state, damaged = checkpoints.restore_newest(run.state_shapes(), run.mesh)
  for line in damaged:
    run.say(f"{line}; moved to {run.workdir / DAMAGED}")
  return start, state


def _loop(
  run: Run,
  ready: Ready,
  start: int,
  state: State,
  checkpoints: Checkpoints,
  preemption: Preemption,
  lock: Lock,
  mirror: Mirror,
) -> int:
  """Takes steps until the last or a signal; returns how many have been taken."""
  config, steps = run.config, run.steps
  every, goodput = config.checkpoint.every, ready.goodput
  profile = Profile(run.workdir, profiled(config.profile_steps))
  told = Progress("training", "step", steps, done=start, shown=jax.process_index() == 0)
  writing = logs.Writer(mirror.folder, config, start, steps, goodput)
  with writing as writer, told as progress, goodput.during("steps"), contextlib.closing(profile):
    for asked, chunk in enumerate(_chunks(run, start, profile.ends), start=1):
      step = chunk.last
      goodput.waited(chunk.waited)
      profile.before(chunk, state)
      with jax.profiler.StepTraceAnnotation("train", step_num=step):
        state, metrics = ready.train_step(state, ready.canvases, ready.constants, chunk.inputs)
      if line := profile.after(step, state):
        run.say(line)
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
        with goodput.during("validating"):
          means = ready.validation.measure(step, state)
          values = means.values
          writer.validated(step, means.values, means.pictures)
      lock.require()
      mirror.require()
      if validate or stop or step % every == 0:
        with goodput.during("saving"):
          checkpoints.save(state, step, values)
      if stop:
        return step
  return steps


def _chunks(run: Run, start: int, at: Sequence[int] = ()) -> Iterator[Chunk]:
  """The steps after `start`, with their inputs; none goes past a step that the loop looks at.

  at: further steps that a dispatch ends with.
  """
  config = run.config
  most = config.steps_per_dispatch
  looks = (config.log_every, config.validate_every, config.checkpoint.every)
  ends = dispatch.ends(start, run.steps, most, looks, at)
  return dispatch.chunks(run.mesh, feed.items(run.feeds, start, run.steps), start, ends, most)
