"""Weights files: all variables of a model in one .safetensors file that says what it holds."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse.layers import PADDINGS
from cfi_jax.systems.isfuse.model import MIN_SIDE, make_model
from cfi_jax.weights import shipped

FORMAT = "cfi_jax weights 1"
ARCHITECTURE = {
  "name": lambda v: isinstance(v, str),
  "features": lambda v: type(v) is int and 2 <= v <= 4096,
  "grid": lambda v: type(v) is int and 1 <= v <= 256,
  "shared_encoder": lambda v: type(v) is bool,
  "gate": lambda v: v in ("released", "paper"),
  "padding": lambda v: isinstance(v, str) and v in PADDINGS,
}


@dataclasses.dataclass(frozen=True)
class Card:
  """What a weights file says of itself.

  architecture: name and fields of the model, but for those that say how it is computed.
  recipe: how it was trained. data: on what. date: when, ISO 8601. licence: of the weights.
  """

  architecture: dict[str, Any]
  recipe: str
  data: str
  date: str
  licence: str


def model(architecture: Mapping[str, Any], dtype: str) -> nn.Module:
  """The module of a card's architecture that computes in `dtype`; checks every field."""
  wrong = [k for k, valid in ARCHITECTURE.items() if not valid(architecture.get(k))]
  wrong += sorted(set(architecture) - set(ARCHITECTURE))
  if wrong:
    values = ", ".join(f"{k}={architecture.get(k)!r}" for k in wrong)
    raise InputError(f"architecture: {values} is missing, unknown or out of range")
  stored = "float64" if dtype == "float64" else "float32"
  computed = {"attention": "matmul", "dtype": dtype, "param_dtype": stored}
  return make_model({**architecture, **computed})


def shapes(module: nn.Module) -> dict:
  """Variables of a model as shapes."""
  blank = jax.ShapeDtypeStruct((1, MIN_SIDE, MIN_SIDE, 1), module.param_dtype)
  pair = Pair(visible=blank, infrared=blank)
  return jax.eval_shape(lambda p: module.init(jax.random.key(0), p), pair)


def save(path: str | os.PathLike, variables: Mapping, card: Card) -> None:
  """Writes variables (`params`, `batch_stats`) as float32 with their card, atomically."""
  template = shapes(model(card.architecture, "float32"))
  flat = {k: _as_float32(np.asarray(v)) for k, v in _flatten(variables).items()}
  _check(flat, template)
  metadata = {k: v for k, v in dataclasses.asdict(card).items() if k != "architecture"}
  metadata |= {"format": FORMAT, "architecture": json.dumps(card.architecture)}
  write_atomically(path, _to_bytes(flat, metadata))


def _to_bytes(flat: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
  """The file's content: the same for the same weights and card, so that a hash names them.

  The library writes metadata in the order of a hash map, a new one each time; header keys may come
  in any order (safetensors' format description).
  """
  content = safetensors.numpy.save(dict(flat), dict(metadata))
  end = 8 + int.from_bytes(content[:8], "little")
  header = json.loads(content[8:end])
  ordered = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
  ordered += b" " * (-len(ordered) % 8)
  return len(ordered).to_bytes(8, "little") + ordered + content[end:]


def load(path: str | os.PathLike) -> tuple[dict, Card]:
  """Variables and card of a weights file, or of shipped weights by their name.

  Raises InputError naming whatever is missing, extra or wrong.
  """
  path = shipped.resolve(path)
  if not path.exists():
    names = ", ".join(shipped.SHA256)
    raise InputError(f"{path}: does not exist; without a file there are {names}")
  try:
    with safetensors.safe_open(path, framework="np") as file:
      metadata = file.metadata() or {}
      card = _card(metadata)
      template = shapes(model(card.architecture, "float32"))
      flat = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    _check(flat, template)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(
      f"{path}: not a readable .safetensors file ({error}); `python -m cfi_jax.convert` makes one "
      "of a PyTorch checkpoint or of a run's work directory"
    ) from error
  return traverse_util.unflatten_dict(flat, sep="/"), card


def _card(metadata: Mapping[str, str]) -> Card:
  names = [field.name for field in dataclasses.fields(Card)]
  missing = [name for name in names if name not in metadata]
  if metadata.get("format") != FORMAT or missing:
    raise InputError(
      f"no weights of this project: format {metadata.get('format')!r}, expected {FORMAT!r}"
      + (f", missing {', '.join(missing)}" if missing else "")
      + "; python -m cfi_jax.convert makes them from a checkpoint"
    )
  try:
    architecture = json.loads(metadata["architecture"])
  except (json.JSONDecodeError, RecursionError) as error:
    raise InputError(f"architecture is not JSON ({error})") from error
  if not isinstance(architecture, dict):
    raise InputError(f"architecture is {architecture!r}, not a mapping")
  return Card(architecture=architecture, **{k: metadata[k] for k in names if k != "architecture"})


def _tensor(file: safetensors.safe_open, name: str) -> np.ndarray:
  try:
    return file.get_tensor(name)
  except (AttributeError, TypeError) as error:  # a type of numbers that numpy does not have
    kind = file.get_slice(name).get_dtype()
    raise InputError(f"{name} is of type {kind}; allowed: F64, F32, F16, BF16") from error


def _as_float32(array: np.ndarray) -> np.ndarray:
  """For storing; what is no floating point, or too large for float32, is left to `_check`."""
  if not jnp.issubdtype(array.dtype, jnp.floating):
    return array
  with np.errstate(over="ignore"):
    return np.ascontiguousarray(array, np.float32)


def _check(flat: Mapping[str, np.ndarray], template: Mapping) -> None:
  wanted = _flatten(template)
  problems = [f"missing {name}" for name in sorted(set(wanted) - set(flat))]
  problems += [f"unexpected {name}" for name in sorted(set(flat) - set(wanted))]
  for name in sorted(set(wanted) & set(flat)):
    array = flat[name]
    if array.shape != wanted[name].shape:
      problems.append(f"{name} has shape {array.shape}, not {wanted[name].shape}")
    elif not jnp.issubdtype(array.dtype, jnp.floating):
      problems.append(f"{name} is {array.dtype}, not floating point")
    elif not np.isfinite(array).all():
      problems.append(f"{name} holds values that are not finite in {array.dtype}")
    elif name.endswith("/var") and (array < 0).any():
      problems.append(f"{name} is a variance and holds negative values")
  if problems:
    more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
    raise InputError(f"the weights do not fit: {'; '.join(problems[:8])}{more}")


def _flatten(tree: Mapping) -> dict[str, Any]:
  return traverse_util.flatten_dict(dict(tree), sep="/")
