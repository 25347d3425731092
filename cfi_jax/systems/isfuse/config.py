"""The complete configuration of a run of ISFuse."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.engine.optim import OptimOptions
from cfi_jax.fusion import interventions
from cfi_jax.fusion.cameras import CameraOptions
from cfi_jax.fusion.decoys import DecoyOptions
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.systems.isfuse.objective import LossOptions
from cfi_jax.systems.isfuse.operations import WAYS
from cfi_jax.systems.isfuse.recipes import UNDECORATED, UNVARIED
from cfi_jax.systems.isfuse.statistics import StatisticsOptions
from cfi_jax.systems.scored import ScoredConfig


def _as_read(section: dict[str, Any]) -> dict[str, Any]:
  """A section as JSON gives it."""
  return {k: list(v) if isinstance(v, tuple) else v for k, v in section.items()}


@dataclasses.dataclass(frozen=True)
class Config(ScoredConfig):
  """One training run of ISFuse; other fields are explained in `ScoredConfig`.

  model: name and fields of the network (`model.ISFuse`).
  cameras: variation of the training pairs, before anything else is done with them.
  decoys: objects painted into them after that, which no intervention has changed.
  statistics: normalisation in training. masks, loss, optim: the training procedure.
  share_encodings: whether an image that several views share is encoded once, and a blank one for
    one sample only; exact, and False is for measuring what it saves.
  rematerialise: whether a step keeps less in memory and computes more, on accelerators; XLA's CPU
    compiler joins both computations again.
  fold_views: whether the views go through the network as one batch, each with its own statistics:
    a step for accelerators compiles in half the time and moves a fifth more bytes.
  """

  OLDER: ClassVar[dict[str, Any]] = ScoredConfig.OLDER | {
    "model.levels": 3,
    "model.prior": "none",
    "statistics.normalise": "own",
    "masks.darkest": 0.1,
    "masks.fills": ["value"],
    "masks.faulty": [0.001, 0.01],
    "masks.brightest": 1.0,
    "masks.dimmest": 0.0,
    "cameras": _as_read(UNVARIED),
    "decoys": _as_read(UNDECORATED),
    "decoys.narrow": 0.0,
    "loss.invariance.filling": 0.0,
    "loss.invariance.absence": 0.0,
    "loss.robustness": {"weight": 0.0, "views": []},
    "optim.ema_decay": 0.0,
    "share_encodings": False,
    "rematerialise": False,
    "fold_views": False,
    "model.layout": "plain",
    "model.kernels": "plain",
  }
  OPERATIONAL: ClassVar[tuple[str, ...]] = (
    *ScoredConfig.OPERATIONAL,
    *(f"model.{name}" for name in WAYS),
    *("share_encodings", "rematerialise", "fold_views"),
  )

  model: dict[str, Any]
  statistics: StatisticsOptions
  masks: MaskOptions
  cameras: CameraOptions
  decoys: DecoyOptions
  loss: LossOptions
  optim: OptimOptions
  share_encodings: bool
  rematerialise: bool
  fold_views: bool

  def __post_init__(self):
    """Refuses settings that do not go together."""
    for view in self.loss.views:
      interventions.get(view)
    super().__post_init__()
    if self.loss.invariance.absence and self.model.get("prior") == "none":
      raise InputError(
        f"loss.invariance.absence is {self.loss.invariance.absence}; allowed with "
        "model.prior='none', which tells no trust: 0"
      )
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

  @property
  def fixed_length(self) -> str:
    """The schedule's."""
    return self.optim.fixed_length
