"""Held-out pairs, and the compiled program that measures the network on them."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cfi_jax.data import pipeline
from cfi_jax.data.source import Source
from cfi_jax.engine import sharding
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.step import Procedure, make_eval_step


@dataclasses.dataclass(frozen=True)
class Measured:
  """One batch of validation: names of its pairs, values by name and pictures, each [len(names)]."""

  names: tuple[str, ...]
  values: dict[str, np.ndarray]
  pictures: np.ndarray


@dataclasses.dataclass(frozen=True)
class Validation:
  """Measures a state on up to `config.validation_pairs` of the pairs of `source`, one or more."""

  config: Config
  mesh: Mesh
  source: Source
  program: jax.stages.Compiled

  def measure(self, state: TrainState) -> Iterator[Measured]:
    """Values and pictures of every pair, as the batches get ready."""
    left = self.config.validation_pairs
    batches = pipeline.validation_batches(
      self.source,
      self.config.input,
      batch_size=self.config.batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    for names, rows in batches:
      batch = sharding.to_devices(self.mesh, Pair(**rows))
      values, pictures = jax.device_get(self.program(state.variables, batch))
      names = names[:left]  # what is beyond them are repeats that fill the batch
      yield Measured(names, {k: v[: len(names)] for k, v in values.items()}, pictures[: len(names)])
      left -= len(names)
      if left <= 0:
        return


def compile_eval_step(
  config: Config, mesh: Mesh, procedure: Procedure, variables: dict
) -> jax.stages.Compiled:
  """The program of a `Validation`; variables: their shapes, with their sharding."""
  eval_step = make_eval_step(procedure, config.validation_metrics, config.metric_convention)
  shape = (config.batch_size, config.input.crop, config.input.crop, 1)
  image = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding.split(mesh))
  program = jax.jit(eval_step, out_shardings=sharding.replicated(mesh))
  return program.lower(variables, Pair(visible=image, infrared=image)).compile()
