"""Weights files: all variables of a network in one .safetensors file that says what it holds."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from cfi_jax.core import storage
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError

FORMATS = ("cfi_jax weights 1", "cfi_jax weights 2")  # read; the last one is written
# Metadata that format 1 does not have, and the fields of an architecture.
OLDER, OLDER_ARCHITECTURE = {"system": "isfuse"}, {"levels": 3}


@dataclasses.dataclass(frozen=True)
class Card:
  """Metadata of a weights file.

  system: folder below cfi_jax/systems of the network. architecture: its fields, but for those that
  say how it is computed. recipe: training settings. data: training images. date: ISO 8601.
  licence: of the weights.
  """

  system: str
  architecture: dict[str, Any]
  recipe: str
  data: str
  date: str
  licence: str


Template = Callable[[Card], Mapping]  # the variables that a card promises, as shapes


def write(path: str | os.PathLike, variables: Mapping, card: Card, template: Template) -> None:
  """Writes variables as float32 with their card, atomically; refuses those that do not fit."""
  flat = {k: _as_float32(np.asarray(v)) for k, v in _flatten(variables).items()}
  _check(flat, template(card))
  metadata = dataclasses.asdict(card) | {"architecture": json.dumps(card.architecture)}
  write_atomically(path, _to_bytes(flat, metadata | {"format": FORMATS[-1]}))


def read(path: pathlib.Path, template: Template) -> tuple[dict, Card]:
  """Variables and card of a weights file; `InputError` names what is missing, extra or wrong."""
  try:
    kept = storage.local(path)
    kept.open("rb").close()  # of a file that may not be read the library says that it is not there
    with safetensors.safe_open(kept, framework="np") as file:
      card = _card(file.metadata() or {})
      wanted = template(card)
      flat = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    _check(flat, wanted)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  except (OSError, safetensors.SafetensorError) as error:
    raise InputError(
      f"{path}: not a readable .safetensors file ({error}); `python -m cfi_jax.convert` makes one "
      "of a PyTorch checkpoint or of a run's work directory"
    ) from error
  return traverse_util.unflatten_dict(flat, sep="/"), card


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


def _card(metadata: Mapping[str, str]) -> Card:
  names = [field.name for field in dataclasses.fields(Card)]
  if metadata.get("format") == FORMATS[0]:
    metadata = OLDER | dict(metadata)
  missing = [name for name in names if name not in metadata]
  if metadata.get("format") not in FORMATS or missing:
    raise InputError(
      f"no weights of this project: format {metadata.get('format')!r}, expected "
      f"{' or '.join(map(repr, FORMATS))}"
      + (f", missing {', '.join(missing)}" if missing else "")
      + "; python -m cfi_jax.convert makes them from a checkpoint"
    )
  try:
    architecture = json.loads(metadata["architecture"])
  except (json.JSONDecodeError, RecursionError) as error:
    raise InputError(f"architecture is not JSON ({error})") from error
  if not isinstance(architecture, dict):
    raise InputError(f"architecture is {architecture!r}, not a mapping")
  if metadata["format"] == FORMATS[0]:
    architecture = OLDER_ARCHITECTURE | architecture
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
    return np.asarray(array, np.float32, order="C")


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
