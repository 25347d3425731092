"""Our variables as the state dict of `rivals.torch_isfuse`, of any architecture.

`systems.isfuse.torch_names` has the release's names, and so its architecture only.
"""

from collections.abc import Mapping

import numpy as np
from flax import traverse_util

LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}


def to_state(variables: Mapping) -> dict[str, np.ndarray]:
  """Arrays by name, such as "cfi1.refine.norm1.weight"; kernels as OIHW.

  variables: {"params": ..., "batch_stats": ...}, or one of them, such as gradients.
  """
  state = {}
  for (_, *modules, leaf), value in traverse_util.flatten_dict(variables).items():
    array = np.asarray(value)
    if leaf == "kernel":
      array = array if array.ndim == 4 else array[None, None]
      array = array.transpose(3, 2, 0, 1)
    state[".".join([*modules, LEAVES[leaf]])] = array
  return state
