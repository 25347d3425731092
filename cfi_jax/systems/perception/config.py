"""The complete configuration of a run of perception."""

import dataclasses
from typing import ClassVar

import numpy as np

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.datasets.labelled.classes import Classes
from cfi_jax.engine import config as engine_config
from cfi_jax.engine.optim import OptimOptions
from cfi_jax.images import ranges
from cfi_jax.systems.perception.fused import FusedOptions
from cfi_jax.systems.perception.model import STRIDE, Architecture, ModelOptions
from cfi_jax.systems.perception.objective import LossOptions

TRUTHS = ("labels", "objects", "carrier")  # images that are whole numbers


@dataclasses.dataclass(frozen=True)
class Config(engine_config.Config):
  """One training run; other fields are explained in `engine.config.Config`.

  data: a data set with classes. fused: images that stand in the place of its visible ones; they are
    known by what made them, or by their names and sizes. model, loss, optim: see there.
  """

  OLDER: ClassVar = engine_config.Config.OLDER | {
    "fused": {"weights": "", "folder": "", "cache": ""}
  }
  OPERATIONAL: ClassVar = (
    *engine_config.Config.OPERATIONAL,
    *("fused.weights", "fused.folder", "fused.cache"),
  )

  fused: FusedOptions
  model: ModelOptions
  loss: LossOptions
  optim: OptimOptions

  def __post_init__(self):
    """Refuses settings that do not go together."""
    super().__post_init__()
    _ = self.classes
    if self.input.crop % STRIDE:
      raise InputError(f"input.crop is {self.input.crop}; allowed: multiples of {STRIDE}")
    rules = ranges.parse(self.input.normalize, over=self.input.normalize_over)
    if wrong := [name for name in TRUTHS if not rules.rule(name).keeps(np.dtype(np.uint8))]:
      raise InputError(
        f"input.normalize is {self.input.normalize!r}, which would change the numbers of "
        f"{', '.join(wrong)}; allowed: auto, full, or rules of visible and infrared by name"
      )
    if self.fused.given != (self.model.fusion == "fused"):
      values = f"fused.weights is {self.fused.weights!r}, folder {self.fused.folder!r}"
      raise InputError(
        f"{values} and model.fusion {self.model.fusion!r}; allowed: weights or a folder with "
        "'fused', none with others"
      )
    if self.fused.weights and self.input.normalize_over != "image":
      raise InputError(
        f"input.normalize_over is {self.input.normalize_over!r} and fused.weights "
        f"{self.fused.weights!r}, which read each pair by itself; allowed: image"
      )
    if self.model.fusion == "special" and not self.loss.prediction:
      raise InputError(
        "loss.prediction is 0 and model.fusion 'special', whose predictors would learn nothing; "
        "allowed: more than 0"
      )

  @property
  def classes(self) -> Classes:
    """The classes of the data set; InputError names the data sets that have any."""
    dataset = datasets.load(self.data)
    if not hasattr(dataset, "classes"):
      valid = ", ".join(name for name, cls in datasets.DATASETS.items() if hasattr(cls, "classes"))
      raise InputError(f"data.name is {self.data['name']!r}, which has no labels; valid: {valid}")
    return dataset.classes

  @property
  def architecture(self) -> Architecture:
    """The network's fields with the classes of the data set."""
    return Architecture(**dataclasses.asdict(self.model), classes=self.classes.names)

  @property
  def fixed_length(self) -> str:
    """The schedule's."""
    return self.optim.fixed_length

  @property
  def judges(self) -> dict[str, str]:
    """The objective and, with segmentation, the mean IoU per image."""
    return {"loss": "lower"} | ({"miou": "higher"} if self.model.segmentation else {})
