"""The authors' PyTorch state dict as variables of `ISFuse`, and back: names and axis order."""

import re
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from cfi_jax.core.types import InputError

# Parts of our tree and the modules of the release they correspond to.
PARTS = {
  "encoder_visible": "encoder_vis",
  "encoder_infrared": "encoder_ir",
  "cfi1": "cfi5",
  "cfi2": "cfi4",
  "cfi3": "cfi3",
  "decoder2": "adjust_channels4",
  "decoder1": "adjust_channels5",
  "head": "final_decoder.0",
}
# Stored in the release but never used in its forward pass.
DEAD_MODULES = ("adjust_channels3", "module4", "module5")
DEAD_LEAF = "num_batches_tracked"

SEQUENTIAL = {"conv1": "0", "norm1": "1", "conv2": "3", "norm2": "4"}
LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}


def torch_name(path: tuple[str, ...]) -> str:
  """Our leaf's path below `params` or `batch_stats` -> its name in the release's state dict.

  ("cfi1", "gate", "norm1", "scale") -> "cfi5.gate.1.weight".
  """
  part, *middle, leaf = path
  name = [PARTS[part]]
  for module in middle:
    if module == "gate_head":
      name += ["gate", "3"]
    elif re.fullmatch("level[123]", module):
      name.append(module.replace("level", "module"))
    elif match := re.fullmatch("(query|key|value)_(visible|infrared)", module):
      name.append(f"{match[1][0]}_{match[2][0]}")
    else:
      name.append(SEQUENTIAL.get(module, module))
  return ".".join([*name, LEAVES[leaf]])


def is_dead(name: str) -> bool:
  """Whether a tensor of the release's state dict plays no part in its forward pass."""
  return name.endswith(f".{DEAD_LEAF}") or any(part in DEAD_MODULES for part in name.split("."))


def from_torch(state: Mapping[str, np.ndarray], template: Mapping) -> dict:
  """Variables with the structure of `template` from a state dict of the release.

  template: variables of an `ISFuse` with two encoders (arrays or shapes). Kernels change from OIHW
  to HWIO and 1x1 kernels to [I, O]; dtypes are kept. Dead tensors are dropped by name; any other
  missing, extra or differently shaped tensor is an `InputError` naming it.
  """
  flat = traverse_util.flatten_dict(template)
  names = {path: torch_name(path[1:]) for path in flat}
  alive = {name for name in state if not is_dead(name)}
  problems = [f"missing {n}" for n in sorted(set(names.values()) - alive)]
  problems += [f"unexpected {n}" for n in sorted(alive - set(names.values()))]
  new = {}
  for path, name in names.items():
    if name not in alive:
      continue
    array = np.asarray(state[name])
    if array.ndim == 4:
      array = array.transpose(2, 3, 1, 0)
    if len(flat[path].shape) == 2 and array.shape[:2] == (1, 1):
      array = array[0, 0]
    if array.shape != flat[path].shape:
      problems.append(f"{name}: shape {state[name].shape} does not fit {flat[path].shape}")
    new[path] = array
  if problems:
    raise InputError("not a state dict of ISFuse: " + "; ".join(problems))
  return traverse_util.unflatten_dict(new)


def to_torch(variables: Mapping) -> dict[str, np.ndarray]:
  """The inverse of `from_torch` (without the dead tensors): arrays by the release's names, OIHW."""
  state = {}
  for path, leaf in traverse_util.flatten_dict(variables).items():
    array = np.asarray(leaf)
    if path[-1] == "kernel":
      array = array if array.ndim == 4 else array[None, None]
      array = array.transpose(3, 2, 0, 1)
    state[torch_name(path[1:])] = array
  return state
