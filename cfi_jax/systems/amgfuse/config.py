"""The complete configuration of a run of AMG-Fuse, or of its restoration network."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.fusion.weather import WeatherOptions
from cfi_jax.systems.amgfuse import objective
from cfi_jax.systems.amgfuse.model import NETWORKS
from cfi_jax.systems.amgfuse.optimizer import OptimOptions
from cfi_jax.systems.amgfuse.pseudo import PseudoOptions
from cfi_jax.systems.amgfuse.ways import WAYS
from cfi_jax.systems.scored import ScoredConfig


@dataclasses.dataclass(frozen=True)
class RestorationOptions:
  """The frozen restoration network, whose weights a run of its own has made.

  weights: file of them; "" for none, which leaves no loss `tdas`. Others: its architecture, see
  `model.Restoration`.
  """

  weights: str
  width: int
  blocks: tuple[int, ...]
  heads: tuple[int, ...]
  refinement: int

  @property
  def architecture(self) -> dict[str, Any]:
    """The fields of the network."""
    fields = dataclasses.asdict(self)
    return {"name": "restoration"} | {k: v for k, v in fields.items() if k != "weights"}


@dataclasses.dataclass(frozen=True)
class Config(ScoredConfig):
  """One training run; other fields are explained in `ScoredConfig`.

  epochs: the learning rate changes once per epoch, also where `steps` says how long to train: then
    these are divided into so many epochs.
  model: name, "amgfuse" or "restoration", and fields of the network that is trained (`model`).
  restoration: the frozen one. loss: weight by term, see `objective.TERMS`.
  weather: made on clean pairs. pseudo: what makes their pseudo ground truth.
  optim: the training procedure.
  validation_metrics: of fused degraded pairs against the clean ones.
  """

  ADDED: ClassVar[dict[str, str]] = {"prior": "params/output_"}
  OLDER: ClassVar[dict[str, Any]] = ScoredConfig.OLDER | {
    "model:amgfuse.prior": "none",
    "model:amgfuse.fold": 1,
  }
  OPERATIONAL: ClassVar[tuple[str, ...]] = (
    *ScoredConfig.OPERATIONAL,
    *(f"model.{name}" for name in WAYS),
    "restoration.weights",
  )

  model: dict[str, Any]
  restoration: RestorationOptions
  loss: dict[str, float]
  weather: WeatherOptions
  pseudo: PseudoOptions
  optim: OptimOptions

  def __post_init__(self):
    """Refuses settings that do not go together."""
    name = self.model.get("name")
    if name not in NETWORKS:
      raise InputError(f"no model {name!r}; valid: {', '.join(NETWORKS)}")
    objective.check(self.loss, name)
    super().__post_init__()
    if self.loss.get("tdas") and not self.restoration.weights:
      raise InputError(
        f"loss.tdas is {self.loss['tdas']}, which needs --config.restoration.weights=FILE, weights "
        "of a run of the recipe `restoration`; --config.loss.tdas=0 goes without"
      )
    if 2**self.pseudo.planes >= self.input.crop:
      raise InputError(
        f"pseudo.planes is {self.pseudo.planes}, whose coarsest reaches {2**self.pseudo.planes} "
        f"pixels; allowed: less than input.crop, {self.input.crop}"
      )

  @property
  def fixed_length(self) -> str:
    """The schedule's."""
    return "optim's learning rate falls until the last epoch"

  @property
  def judges(self) -> dict[str, str]:
    """The loss, the validation metrics and the PSNR of restoration, each with its direction."""
    return super().judges | {"restored_psnr": "higher"}
