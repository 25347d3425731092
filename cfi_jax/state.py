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
  """

  step: Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState

  @property
  def variables(self) -> dict:
    """What `model.apply` takes."""
    return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
  model: nn.Module, optimizer: optax.GradientTransformation, seed: int | Array, crop: int
) -> TrainState:
  """A fresh state; a pure function of the seed, so it may be traced, sharded or only shaped."""
  blank = jnp.zeros((1, crop, crop, 1), model.param_dtype)
  variables = model.init(jax.random.key(seed), Pair(visible=blank, infrared=blank))
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=optimizer.init(variables["params"]),
  )
