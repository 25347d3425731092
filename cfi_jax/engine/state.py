"""The state of training one network."""

import optax
from flax import struct

from cfi_jax.core.types import Array


@struct.dataclass
class TrainState:
  """All that a step changes and a checkpoint holds, for a system with one network.

  step: int32 [], number of steps taken.
  params: parameters, which the next step changes. batch_stats: running statistics.
  opt_state: state of the optimizer.
  ema_params: exponential moving average of `params`; {} where none is kept. Running statistics
    follow `params` all the same, since they are moving averages themselves.
  """

  step: Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  ema_params: dict = struct.field(default_factory=dict)

  @property
  def variables(self) -> dict:
    """Variables to validate and to fuse with: averaged parameters where they are kept."""
    return {"params": self.ema_params or self.params, "batch_stats": self.batch_stats}
