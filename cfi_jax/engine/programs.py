"""The compiled programs of a run: the training step, and the validation of a batch."""

import dataclasses
from typing import Any

import jax
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.engine import dispatch, feed, memory, sharding
from cfi_jax.engine.procedure import Constants, Evaluation, Metrics, State
from cfi_jax.engine.run import Run


@dataclasses.dataclass(frozen=True)
class TrainStep:
  """The compiled program of up to `steps_per_dispatch` steps (`dispatch.make_program`).

  Runs that differ in the seed alone share the program. The state is donated.
  """

  compiled: jax.stages.Compiled
  seed: jax.Array

  def __call__(
    self, state: State, canvases: Any, constants: Constants, inputs: Any
  ) -> tuple[State, Metrics]:
    """Takes the steps."""
    return self.compiled(state, (canvases, constants, self.seed), inputs)


def lower_train_step(run: Run) -> jax.stages.Lowered:
  """The training program: jitted, donated, sharded, lowered for the devices of the run's mesh.

  Makes no array and does not look at this machine, so the devices need not be there.
  """
  config, cut = run.config, feed.cutter(run.feeds)

  def one_step(state: State, kept: tuple, items: dict) -> tuple[State, Metrics]:
    canvases, constants, seed = kept
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    with jax.named_scope("input"):
      batch = cut(canvases, items, key)
    return run.procedure.train_step(state, batch, constants, key)

  everywhere = sharding.replicated(run.mesh)
  program = dispatch.make_program(one_step, config.steps_per_dispatch)
  program = jax.jit(program, donate_argnums=0, out_shardings=everywhere)
  canvases = {name: feed.canvases for name, feed in run.feeds.items()}
  kept = (canvases, run.constants, jax.ShapeDtypeStruct((), np.uint32))
  state, kept = sharding.as_shapes(everywhere, (run.state_shapes(), kept))
  items = {name: feed.item for name, feed in run.feeds.items()}
  inputs = dispatch.input_shapes(run.mesh, items, config.steps_per_dispatch)
  with jax.set_mesh(run.mesh):
    return program.lower(state, kept, inputs)


def compile_train_step(run: Run) -> TrainStep:
  """The training program, compiled ahead; raises `InputError` if memory cannot hold it."""
  config = run.config
  compiled = lower_train_step(run).compile()
  memory.check(
    compiled,
    config.memory_gb,
    f"give a smaller --config.batch_size (now {config.batch_size}) or --config.input.crop "
    f"(now {config.input.crop}){''.join(dict.fromkeys(f.advice for f in run.feeds.values()))}",
  )
  return TrainStep(compiled, run.seed())


@dataclasses.dataclass(frozen=True)
class EvalStep:
  """The compiled program that validates one batch of the held-out stream."""

  compiled: jax.stages.Compiled
  seed: jax.Array

  def __call__(self, state: State, constants: Constants, images: dict[str, Array]) -> Evaluation:
    """Evaluates images {name: [rows, crop, crop, C]}."""
    return self.compiled(state, constants, images, self.seed)


def compile_eval_step(run: Run) -> EvalStep:
  """The validation program of a run that has held-out samples, compiled ahead."""

  def program(state: State, constants: Constants, images: dict, seed: Array) -> Evaluation:
    key = jax.random.key(seed)
    samples = feed.finish(run.held_out.stream, images, key, "held_out")
    return run.procedure.eval_step(state, samples, constants, key)

  everywhere = sharding.replicated(run.mesh)
  kept = (run.state_shapes(), run.constants)
  seed = jax.ShapeDtypeStruct((), np.uint32, sharding=everywhere)
  images = sharding.as_shapes(sharding.split(run.mesh), run.held_out.item)
  compiled = jax.jit(program, out_shardings=everywhere)
  with jax.set_mesh(run.mesh):
    compiled = compiled.lower(*sharding.as_shapes(everywhere, kept), images, seed).compile()
  return EvalStep(compiled, run.seed())
