"""The configuration of systems that validate fused images by metrics of fusion."""

import dataclasses
from typing import ClassVar

from cfi_jax import metrics
from cfi_jax.engine import config as engine_config


@dataclasses.dataclass(frozen=True)
class ScoredConfig(engine_config.Config):
  """One training run; the engine's fields are explained in `engine.config.Config`.

  validation_metrics: fusion metrics (`cfi_jax.metrics.METRICS`) of held-out samples, under
    metric_convention; spelled as the catalogue does.
  """

  OPERATIONAL: ClassVar[tuple[str, ...]] = (
    *engine_config.Config.OPERATIONAL,
    "validation_metrics",
  )

  validation_metrics: tuple[str, ...]
  metric_convention: str

  def __post_init__(self):
    """Refuses metrics that there are not, or that a crop is too small for."""
    names = self.validation_metrics
    names = metrics.spell_metrics(names, self.metric_convention) if names else ()
    object.__setattr__(self, "validation_metrics", names)
    metrics.require_side(names, self.metric_convention, self.input.crop)
    super().__post_init__()

  @property
  def judges(self) -> dict[str, str]:
    """The loss and the validation metrics, each with its direction."""
    directions = {name: metrics.find_metric(name).direction for name in self.validation_metrics}
    return super().judges | directions
