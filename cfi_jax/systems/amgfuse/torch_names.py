"""The authors' PyTorch state dicts as variables of our networks, and back: names and axis order."""

import re
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from cfi_jax.core.types import InputError

STREAMS = {"visible": "vi", "infrared": "ir", "fused": "f"}
# Parts of a block of the fused stream, of a coupling's attention, and of other modules.
BLOCK = {
  "norm1.scale": "norm1.body.weight",
  "norm1.bias": "norm1.body.bias",
  "attention.temperature": "attn.temperature",
  "attention.expand.kernel": "attn.qkv.weight",
  "attention.local.kernel": "attn.qkv_dwconv.weight",
  "attention.project_out.kernel": "attn.project_out.weight",
  "norm2.scale": "norm2.body.weight",
  "norm2.bias": "norm2.body.bias",
  "feedforward.project_in": "ffn.project_in.weight",
  "feedforward.local3": "ffn.dwconv3x3.weight",
  "feedforward.local5": "ffn.dwconv5x5.weight",
  "feedforward.pairs3": "ffn.dwconv3x3_1.weight",
  "feedforward.pairs5": "ffn.dwconv5x5_1.weight",
  "feedforward.project_out.kernel": "ffn.project_out.weight",
}
ATTENTION = {
  "temperature": "temperature",
  "query_visible.kernel": "q_vi.weight",
  "query_visible_local.kernel": "q_dwconv_vi.weight",
  "query_infrared.kernel": "q_ir.weight",
  "query_infrared_local.kernel": "q_dwconv_ir.weight",
  "key_value.kernel": "kv.weight",
  "key_value_local.kernel": "kv_dwconv.weight",
  "project_visible": "project_out_vi.weight",
  "project_infrared": "project_out_ir.weight",
  "project_fused": "project_out_f.weight",
  "squeeze": "se.1.weight",
  "excite": "se.3.weight",
}
RESIDUAL = {
  "conv1.kernel": "block.0.weight",
  "conv1.bias": "block.0.bias",
  "conv2.kernel": "block.2.weight",
  "conv2.bias": "block.2.bias",
}


def torch_name(path: tuple[str, ...], levels: int) -> str:
  """Our leaf's path below `params` -> its name in the release's state dict.

  ("encoder2_fused", "block0", "norm1", "scale") -> "encoder_level2_f.0.norm1.body.weight". levels:
  of the network, whose coarsest the release calls latent.
  """
  part, *rest = path
  leaf = ".".join(rest)
  if match := re.fullmatch(r"coupling(\d+)", part):
    if rest[0] == "mask":
      return f"mask_processors.{match[1]}.0.{RESIDUAL['.'.join(rest[1:])]}"
    return f"CA_processors.{match[1]}.{ATTENTION['.'.join(rest[1:])]}"
  name, _, stream = part.partition("_")
  suffix = f"_{STREAMS[stream]}" if stream else ""
  kind, level = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
  number = int(level or 0)
  if kind in ("encoder", "decoder", "refinement"):
    stage = f"{kind}_level{level}" if level else kind
    stage = "latent" if (kind, number) == ("encoder", levels) else stage
    if rest[0] == "residual":
      return f"{stage}{suffix}.0.{RESIDUAL['.'.join(rest[1:])]}"
    return f"{stage}{suffix}.{rest[0].removeprefix('block')}.{BLOCK['.'.join(rest[1:])]}"
  module = {
    "embed": f"patch_embed{suffix}.proj",
    "down": f"down{number}_{number + 1}{suffix}.body.0",
    "up": f"up{number + 1}_{number}{suffix}.body.0",
    "reduce": f"reduce_chan_level{level}{suffix}",
    "output": f"output{suffix}",
  }[kind]
  return f"{module}.{'weight' if leaf.endswith('kernel') else leaf}"


def to_ours(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """An array of the release in our axis order, OIHW to HWIO without axes of one; see `from_torch`.

  shape: ours, which tells kernels of one input, single pixels and temperatures from others.
  """
  if array.ndim == 3:
    return array.reshape(-1)
  if array.ndim != 4:
    return array
  array = array.transpose(2, 3, 1, 0)
  if len(shape) == 2:
    return array[0, 0] if array.shape[:2] == (1, 1) else array
  if len(shape) == 3:
    return array[:, :, 0] if array.shape[2] == 1 else array
  return array


def to_theirs(array: np.ndarray, name: str) -> np.ndarray:
  """Inverts `to_ours`, for the tensor of that name."""
  if name.endswith("temperature"):
    return array.reshape(-1, 1, 1)
  if array.ndim == 1:
    return array
  if array.ndim == 2:
    array = array[None, None]
  if array.ndim == 3:
    array = array[:, :, None]
  return array.transpose(3, 2, 0, 1)


def from_torch(state: Mapping[str, np.ndarray], template: Mapping, levels: int) -> dict:
  """Variables with the structure of `template` from a state dict of the release.

  Dtypes are kept. A tensor that is missing, extra or of another shape is an `InputError` naming it.
  """
  flat = traverse_util.flatten_dict(template["params"])
  names = {path: torch_name(path, levels) for path in flat}
  problems = [f"missing {n}" for n in sorted(set(names.values()) - set(state))]
  problems += [f"unexpected {n}" for n in sorted(set(state) - set(names.values()))]
  new = {}
  for path, name in names.items():
    if name not in state:
      continue
    array = to_ours(np.asarray(state[name]), flat[path].shape)
    if array.shape != flat[path].shape:
      problems.append(f"{name}: shape {state[name].shape} does not fit {flat[path].shape}")
    new[path] = array
  if problems:
    more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
    raise InputError(f"not a state dict of AMG-Fuse: {'; '.join(problems[:8])}{more}")
  return {"params": traverse_util.unflatten_dict(new)}


def to_torch(variables: Mapping, levels: int) -> dict[str, np.ndarray]:
  """The inverse of `from_torch`: arrays by the release's names, OIHW."""
  flat = traverse_util.flatten_dict(variables["params"])
  named = {torch_name(path, levels): np.asarray(leaf) for path, leaf in flat.items()}
  return {name: to_theirs(array, name) for name, array in named.items()}
