"""The authors' released checkpoint as variables of `ISFuse`."""

import os
from collections.abc import Mapping

from cfi_jax.core.types import InputError
from cfi_jax.systems.isfuse.procedure import shapes
from cfi_jax.systems.isfuse.torch_names import from_torch
from cfi_jax.weights import torch_checkpoint

RELEASED = {
  "name": "isfuse",
  "features": 32,
  "grid": 8,
  "shared_encoder": False,
  "gate": "released",
  "padding": "zeros",
  "levels": 3,
}
ORIGIN = {
  "recipe": "the release of the authors of ISFuse (arXiv 2603.23272)",
  "data": "not stated in the file",
  "licence": "that of the authors' release",
}


def read_release(path: str | os.PathLike) -> tuple[Mapping, dict, dict[str, str]]:
  """Variables, architecture and origin of the authors' .pth file; `InputError` names the file."""
  state = torch_checkpoint.read_state_dict(path)
  try:
    return from_torch(state, shapes(RELEASED)), RELEASED, ORIGIN
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
