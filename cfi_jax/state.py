"""The state of a training run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from cfi_jax.types import Array, Pair


@struct.dataclass
class TrainState:
  """Everything that a step changes and a checkpoint holds.

  step: int32 [], number of steps taken.
  params, batch_stats: the model's variables.
  opt_state: the optimizer's.
  average: the moving average of `params` over the steps; {} where none is kept.
  """

  step: Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  average: dict = struct.field(default_factory=dict)

  @property
  def variables(self) -> dict:
    """What `model.apply` takes to validate and to fuse: averaged parameters where they are kept."""
    return {"params": self.average or self.params, "batch_stats": self.batch_stats}


def init_state(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  seed: int | Array,
  crop: int,
  *,
  average: bool = False,
) -> TrainState:
  """A fresh state; a pure function of the seed, so it may be traced, sharded or only shaped.

  average: whether a moving average of the parameters is kept.
  """
  blank = jnp.zeros((1, crop, crop, 1), model.param_dtype)
  variables = model.init(jax.random.key(seed), Pair(visible=blank, infrared=blank))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=optimizer.init(variables["params"]),
    average=variables["params"] if average else {},
  )
