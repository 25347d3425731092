"""The complete configuration of a run of ISFuse."""

import dataclasses
from typing import Any

from cfi_jax import metrics
from cfi_jax.core.types import InputError
from cfi_jax.data.pipeline import Input
from cfi_jax.engine.optim import OptimOptions
from cfi_jax.engine.workdir.checkpoint import CheckpointOptions
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.systems.isfuse.layers import StatisticsOptions
from cfi_jax.systems.isfuse.objective import LossOptions


@dataclasses.dataclass(frozen=True)
class Config:
  """One training run.

  data: name of the data set and its options (`cfi_jax.data.DATASETS`).
  input: crops and augmentation. batch_size: global, over all devices.
  steps_per_dispatch: at most so many steps are given to the devices at once.
  epochs: passes over the training pairs; steps: if not 0, the number of steps instead.
  model: name of the model and its fields (`cfi_jax.systems.isfuse.model.MODELS`).
  statistics: what BatchNorm normalises by. masks, loss, optim: the training procedure.
  checkpoint: what is kept. *_every: in steps; the last step always logs, validates and saves.
  validation_pairs: at most so many pairs are validated on; pictures: so many of them are drawn.
  validation_metrics: fusion metrics of them (`cfi_jax.metrics.METRICS`), under metric_convention.
  share_encodings: whether an image that several views share is encoded once, and a blank one for
    one sample only; exact, and False is for measuring what it saves.
  rematerialise: whether a step keeps less in memory and computes more, on accelerators; XLA's CPU
    compiler joins both computations again.
  memory_gb: memory that a step may take on each device; 0: what the machine has.
  """

  seed: int
  data: dict[str, Any]
  input: Input
  batch_size: int
  steps_per_dispatch: int
  epochs: float
  steps: int
  model: dict[str, Any]
  statistics: StatisticsOptions
  masks: MaskOptions
  loss: LossOptions
  optim: OptimOptions
  checkpoint: CheckpointOptions
  log_every: int
  validate_every: int
  validation_pairs: int
  validation_metrics: tuple[str, ...]
  metric_convention: str
  pictures: int
  share_encodings: bool
  rematerialise: bool
  memory_gb: float

  def __post_init__(self):
    """Refuses numbers that no run can have."""
    counts = ("batch_size", "steps_per_dispatch", "log_every", "validate_every")
    for name in (*counts, "validation_pairs"):
      if getattr(self, name) < 1:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 1 or more")
    for name in ("steps", "epochs", "pictures", "memory_gb"):
      if getattr(self, name) < 0:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 0 or more")
    if not 0 <= self.seed < 2**31:
      raise InputError(f"config.seed is {self.seed}; allowed: 0 to {2**31 - 1}")
    for view in self.loss.views:
      interventions.get(view)
    self._check_metrics()
    if not self.steps and not self.epochs:
      raise InputError("config.steps and config.epochs are both 0; one must say how long to train")
    if self.masks.size[1] > self.input.crop:
      raise InputError(
        f"masks.size goes up to {self.masks.size[1]} pixels, more than input.crop {self.input.crop}"
      )

    planes = self.loss.target.planes
    if "multiscale" in self.loss.fusion and 2**planes >= self.input.crop:
      raise InputError(
        f"loss.target.planes is {planes}, whose coarsest reaches {2**planes} pixels; allowed: less "
        f"than input.crop, {self.input.crop}"
      )

  def _check_metrics(self) -> None:
    names = self.validation_metrics
    for metric in metrics.find_metrics(names, self.metric_convention) if names else ():
      side = metric.minimum_side(self.metric_convention)
      if self.input.crop < side:
        raise InputError(
          f"validation_metrics: {metric.name} needs images of {side} pixels or more, and "
          f"input.crop is {self.input.crop}"
        )
    best = {"loss": "lower"}
    best |= {name: metrics.find_metric(name).direction for name in self.validation_metrics}
    if best.get(self.checkpoint.best) != self.checkpoint.direction:
      valid = ", ".join(f"{name} ({direction})" for name, direction in best.items())
      raise InputError(
        f"checkpoint.best is {self.checkpoint.best!r} ({self.checkpoint.direction}); valid: {valid}"
      )
