"""The complete configuration of a run of DFC-Net."""

import dataclasses

import jax.numpy as jnp
import optax

from cfi_jax.core.types import InputError
from cfi_jax.engine import config as engine_config
from cfi_jax.engine.optim import require_ranges
from cfi_jax.systems.dfcnet.model import Architecture
from cfi_jax.systems.dfcnet.objective import LossOptions

JUDGES = {
  "loss": "lower", "psnr": "higher", "ssim": "higher", "foreground_psnr": "higher",
  "identity_error": "lower", "pck": "higher",
}  # fmt: skip
# Data in the poses of the drawn people that proportions are fitted to.
POSED_ALIKE = ("figures", "characters")


@dataclasses.dataclass(frozen=True)
class OptimOptions:
  """Adam, for each of three learners.

  learning_rate: of branches and generator, for `constant_share` of the run; then it falls along
    half a cosine to `final_share` of itself. discriminator_learning_rate: constant.
  estimator_learning_rate: with Adam's usual decays, falling to a tenth along half a cosine.
  proportions_steps: updates of the proportions before the first step, on keypoints of people drawn
    for them alone, which costs seconds; 0 for none, and for other data than `POSED_ALIKE`.
  b1, b2: of the other two. eps: of all.
  ema_decay: of the moving average of branches and generator, which is validated and shipped; in
    step t at most (1 + t) / (10 + t). 0 for none.
  """

  learning_rate: float
  discriminator_learning_rate: float
  estimator_learning_rate: float
  proportions_steps: int
  constant_share: float
  final_share: float
  b1: float
  b2: float
  eps: float
  ema_decay: float

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    require_ranges(self, not_negative=("constant_share", "final_share", "proportions_steps"))
    for name in ("discriminator_learning_rate", "estimator_learning_rate"):
      if not getattr(self, name) > 0:
        raise InputError(f"optim.{name} is {getattr(self, name)}; allowed: more than 0")
    for name in ("constant_share", "final_share"):
      if getattr(self, name) > 1:
        raise InputError(f"optim.{name} is {getattr(self, name)}; allowed: 0 to 1")

  def schedule(self, steps: int) -> optax.Schedule:
    """The learning rate of branches and generator in a run of `steps` steps."""
    flat = int(self.constant_share * steps)
    falling = optax.cosine_decay_schedule(
      self.learning_rate, max(1, steps - flat), alpha=self.final_share
    )
    return lambda step: falling(jnp.maximum(step - flat, 0))

  def estimator_schedule(self, steps: int) -> optax.Schedule:
    """The estimator's learning rate in a run of `steps` steps."""
    return optax.cosine_decay_schedule(self.estimator_learning_rate, max(1, steps), alpha=0.1)


@dataclasses.dataclass(frozen=True)
class Config(engine_config.Config):
  """One training run; other fields are explained in `engine.config.Config`.

  batch_size: paired examples of a step. support_rows: unpaired ones beside them, 0 for none.
  model: the networks. discriminator_scales: sizes of the picture that are judged.
  loss, optim: see there.
  """

  support_rows: int
  model: Architecture
  discriminator_scales: int
  loss: LossOptions
  optim: OptimOptions

  def __post_init__(self):
    """Refuses settings that do not go together."""
    super().__post_init__()
    if self.support_rows < 0:
      raise InputError(f"config.support_rows is {self.support_rows}; allowed: 0 or more")
    if not 1 <= self.discriminator_scales <= 3:
      raise InputError(
        f"config.discriminator_scales is {self.discriminator_scales}; allowed: 1 to 3"
      )
    if self.optim.proportions_steps and (
      self.data["name"] not in POSED_ALIKE or self.model.proportions != "learned"
    ):
      raise InputError(
        f"optim.proportions_steps is {self.optim.proportions_steps}; allowed for data.name="
        f"{self.data['name']!r} with model.proportions={self.model.proportions!r}: 0, as they are "
        "learned from people of figures, in their poses"
      )
    if self.input.flip or self.input.transpose:
      raise InputError(
        f"input.flip is {self.input.flip}, input.transpose is {self.input.transpose}; allowed: "
        "False, as a mirrored person's right hand is the left one"
      )
    if self.input.crop != self.model.side:
      raise InputError(
        f"input.crop is {self.input.crop} and model.side {self.model.side}; allowed: the same"
      )

  @property
  def fixed_length(self) -> str:
    """The schedule's."""
    return "optim's learning rate falls until the last step"

  @property
  def judges(self) -> dict[str, str]:
    """The reconstruction and the scores of validation, each with its direction."""
    return JUDGES
