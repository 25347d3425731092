"""The authors' checkpoints as variables of our networks."""

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.systems.amgfuse.procedure import shapes
from cfi_jax.systems.amgfuse.torch_names import from_torch
from cfi_jax.systems.amgfuse.untrained import warn_of_untrained
from cfi_jax.weights import torch_checkpoint

RELEASE = "the release of the authors of AMG-Fuse (arXiv 2606.26812)"
CONTAINERS = ("AWF", "model")  # in the order of their script
RESTORATION = "res."  # before names of the restoration network in a fusion checkpoint

State = Mapping[str, np.ndarray]


def read_release(path: str | os.PathLike) -> tuple[Mapping, dict, dict[str, str]]:
  """Variables, architecture and origin of a checkpoint of either network.

  The state dict is that of the file, or lies under one of `CONTAINERS`; names may begin with
  "module.". Tensors that the network never uses, and a fusion checkpoint's restoration network,
  are dropped, and named in the origin. Any other missing or extra tensor is an `InputError`.
  """
  try:
    state = _strip(torch_checkpoint.read_state_dict(path, CONTAINERS))
    architecture = architecture_of(state)
    levels = len(architecture["blocks"])
    alive, dropped = split(state, architecture)
    variables = from_torch(alive, shapes(architecture), levels)
    frozen = {
      k.removeprefix(RESTORATION): v for k, v in dropped.items() if k.startswith(RESTORATION)
    }
    if frozen:
      own = architecture_of(frozen)
      warn_of_untrained(
        from_torch(frozen, shapes(own), len(own["blocks"])), f"{path}, {RESTORATION}*"
      )
    elif architecture["name"] == "restoration":
      warn_of_untrained(variables, str(path))
  except InputError as error:
    raise InputError(error if str(path) in str(error) else f"{path}: {error}") from error
  parts = sorted({re.match(r"(?:CA|mask)_processors\.\d+|\w+", name)[0] for name in dropped})
  what = f"; dropped as unused: {', '.join(parts)}, {len(dropped)} tensors" if parts else ""
  return (
    variables,
    architecture,
    {
      "recipe": RELEASE + what,
      "data": "not stated in the file",
      "licence": "that of the authors' release",
    },
  )


def _strip(state: State) -> dict[str, np.ndarray]:
  """Names without the "module." that a parallel wrapper puts before them."""
  stripped = {name.removeprefix("module."): array for name, array in state.items()}
  if len(stripped) < len(state):
    raise InputError("names occur twice, with and without 'module.' before them")
  return stripped


def architecture_of(state: State) -> dict[str, Any]:
  """The architecture of the network that a state dict is of, told by names and shapes."""
  first = {"amgfuse": "patch_embed_vi.proj.weight", "restoration": "patch_embed.proj.weight"}
  name = next((name for name, tensor in first.items() if tensor in state), None)
  if name is None:
    raise InputError(f"not a state dict of AMG-Fuse: neither {' nor '.join(first.values())}")
  suffix = "_f" if name == "amgfuse" else ""
  levels = 1 + sum(f"down{n}_{n + 1}{suffix}.body.0.weight" in state for n in range(1, 6))

  def stage(level: int) -> str:
    return f"latent{suffix}" if level == levels else f"encoder_level{level}{suffix}"

  def count(part: str) -> int:
    return sum(f"{part}.{i}.attn.temperature" in state for i in range(64))

  def heads(level: int) -> int:
    tensor = f"{stage(level)}.0.attn.temperature"
    tensor = f"CA_processors.{level - 1}.temperature" if suffix else tensor
    if tensor not in state:
      raise InputError(f"not a state dict of AMG-Fuse: missing {tensor}")
    return len(state[tensor])

  found = {
    "name": name,
    "width": len(state[first[name]]),
    "blocks": tuple(
      [count(f"decoder_level1{suffix}"), *(count(stage(n)) for n in range(2, levels + 1))]
    ),
    "heads": tuple(heads(level) for level in range(1, levels + 1)),
    "refinement": count(f"refinement{suffix}"),
  }
  release = {"mask": True, "gate": True, "masked_by": "visible", "prior": "none", "fold": 1}
  return found | (release if name == "amgfuse" else {})


def split(state: State, architecture: Mapping[str, Any]) -> tuple[dict, dict]:
  """The tensors that a network uses, and those of a fusion checkpoint that it does not.

  The fused stream has no first stage; of masks and couplings the last are computed and discarded.
  """
  if architecture["name"] == "restoration":
    return dict(state), {}
  last = 2 * len(architecture["blocks"]) - 1
  dead = (
    *("patch_embed_f.", "encoder_level1_f.", f"mask_processors.{last}."),
    *(f"CA_processors.{last}.", f"CA_processors.{last + 1}.", RESTORATION),
  )
  dropped = {name: array for name, array in state.items() if name.startswith(dead)}
  return {name: array for name, array in state.items() if name not in dropped}, dropped
