"""Means over held-out samples, and pictures of the first of them."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data import pipeline
from cfi_jax.engine import sharding
from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import Evaluation, State, System
from cfi_jax.engine.programs import EvalStep, compile_eval_step
from cfi_jax.engine.run import Run, open_run
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.logs import check_finite


@dataclasses.dataclass(frozen=True)
class Means:
  """Values of one validation: means by name, and pictures by the name of their sample."""

  values: dict[str, float]
  pictures: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Samples:
  """Values and scores of held-out samples, [N] each by name; see `procedure.Evaluation`.

  names: of the samples, in order.
  """

  names: tuple[str, ...]
  values: dict[str, np.ndarray]
  scores: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Validation:
  """Measures a state on up to `config.validation_pairs` held-out samples."""

  run: Run
  program: EvalStep
  constants: Any

  def measure(self, step: int, state: State) -> Means:
    """Means of the values and scores at `step`.

    Samples that a score cannot measure are left out of its mean, and the score where it can measure
    none. Raises `DivergedError` for values that are not finite.
    """
    samples, pictures = self._evaluate(state, self.run.config.pictures)
    means = {name: float(x.mean()) for name, x in samples.values.items()}
    check_finite(step, {f"validation {name}": value for name, value in means.items()})
    for name, values in samples.scores.items():
      if not np.isnan(values).all():
        means[name] = float(np.nanmean(values))
    return Means(means, pictures)

  def samples(self, state: State) -> Samples:
    """Values and scores of every sample."""
    return self._evaluate(state, 0)[0]

  def _evaluate(self, state: State, room: int) -> tuple[Samples, dict[str, np.ndarray]]:
    """Values and scores of every sample, and pictures of the first `room`, by name."""
    parts: list[Evaluation] = []
    names: list[str] = []
    pictures: dict[str, np.ndarray] = {}
    for own, part in self._batches(state):
      parts.append(part)
      names += own
      pictures |= dict(list(zip(own, part.pictures, strict=True))[: room - len(pictures)])
    values, scores = _join([p.values for p in parts]), _join([p.scores for p in parts])
    return Samples(tuple(names), values, scores), pictures

  def _batches(self, state: State) -> Iterator[tuple[tuple[str, ...], Evaluation]]:
    """Names and evaluation of each batch, without the repeats that fill the last."""
    stream = self.run.held_out.stream
    batches = pipeline.validation_batches(
      stream.source,
      stream.input,
      batch_size=stream.rows,
      most=self.run.config.validation_pairs,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    for names, rows in batches:
      images = sharding.to_devices(sharding.split(self.run.mesh), rows)
      part = jax.device_get(self.program(state, self.constants, images))
      count = len(names)
      yield names, jax.tree.map(lambda x: x[:count], part)  # noqa: B023


def prepare(run: Run, constants: Any) -> Validation | None:
  """The validation of a run, compiled ahead; None where no samples are held out."""
  if run.held_out is None or not len(run.held_out.stream.source):
    return None
  return Validation(run, compile_eval_step(run), constants)


def measure_run(system: System, config: Config, workdir: pathlib.Path) -> Samples:
  """Values and scores of the held-out samples at the last checkpoint of a run.

  Raises `InputError` where there is no checkpoint, or no sample is held out.
  """
  run = open_run(system, config, workdir)
  constants = sharding.to_devices(sharding.replicated(run.mesh), run.constants)
  validation = prepare(run, constants)
  if validation is None:
    raise InputError(f"{workdir}: the data set of this run holds no samples out to measure it on")
  with Checkpoints(workdir, config.checkpoint, read_only=True) as checkpoints:
    if not checkpoints.steps:
      raise InputError(f"{workdir / FOLDER}: holds no checkpoint")
    state = checkpoints.restore(run.state_shapes(), run.mesh, checkpoints.steps[-1])
  return validation.samples(state)


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
