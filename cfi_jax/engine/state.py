"""The state of a training run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.fusion.types import Pair


@struct.dataclass
class TrainState:
  """Everything that a step changes and a checkpoint holds.

  step: int32 [], number of steps taken.
  params: the model's, which the next step changes. batch_stats: its running statistics.
  opt_state: the optimizer's.
  ema_params: the exponential moving average of `params`; {} where none is kept. The running
    statistics are those of `params` all the same: they are moving averages themselves.
  """

  step: Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  ema_params: dict = struct.field(default_factory=dict)

  @property
  def variables(self) -> dict:
    """What `model.apply` takes to validate and to fuse: averaged parameters where they are kept."""
    return {"params": self.ema_params or self.params, "batch_stats": self.batch_stats}


def init_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  seed: int | Array,
  crop: int,
  *,
  ema: bool = False,
) -> TrainState:
  """A fresh state; a pure function of the seed, so it may be traced, sharded or only shaped.

  ema: whether a moving average of the parameters is kept.
  """
  blank = jnp.zeros((1, crop, crop, 1), model.param_dtype)
  variables = model.init(jax.random.key(seed), Pair(visible=blank, infrared=blank))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=optimizer.init(variables["params"]),
    ema_params=variables["params"] if ema else {},
  )
