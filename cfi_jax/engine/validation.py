"""Means over held-out samples, and pictures of the first of them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cfi_jax.data import pipeline
from cfi_jax.engine import sharding
from cfi_jax.engine.procedure import Evaluation, State
from cfi_jax.engine.programs import EvalStep, compile_eval_step
from cfi_jax.engine.run import Run
from cfi_jax.engine.workdir.logs import check_finite


@dataclasses.dataclass(frozen=True)
class Means:
  """Values of one validation: means by name, and pictures by the name of their sample."""

  values: dict[str, float]
  pictures: dict[str, np.ndarray]


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
    parts: list[Evaluation] = []
    pictures: dict[str, np.ndarray] = {}
    for names, part in self._batches(state):
      parts.append(part)
      room = self.run.config.pictures - len(pictures)
      pictures |= dict(list(zip(names, part.pictures, strict=True))[:room])
    means = {name: float(x.mean()) for name, x in _join([p.values for p in parts]).items()}
    check_finite(step, {f"validation {name}": value for name, value in means.items()})
    for name, values in _join([p.scores for p in parts]).items():
      if not np.isnan(values).all():
        means[name] = float(np.nanmean(values))
    return Means(means, pictures)

  def _batches(self, state: State) -> Iterator[tuple[tuple[str, ...], Evaluation]]:
    """Names and evaluation of each batch, without the repeats that fill the last."""
    stream, left = self.run.held_out.stream, self.run.config.validation_pairs
    batches = pipeline.validation_batches(
      stream.source,
      stream.input,
      batch_size=stream.rows,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    for names, rows in batches:
      images = sharding.to_devices(sharding.split(self.run.mesh), rows)
      part = jax.device_get(self.program(state, self.constants, images))
      names = names[:left]
      count = len(names)
      yield names, jax.tree.map(lambda x: x[:count], part)  # noqa: B023
      left -= count
      if left <= 0:
        return


def prepare(run: Run, constants: Any) -> Validation | None:
  """The validation of a run, compiled ahead; None where no samples are held out."""
  if run.held_out is None or not len(run.held_out.stream.source):
    return None
  return Validation(run, compile_eval_step(run), constants)


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
