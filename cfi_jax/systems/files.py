"""Weights of any system: from a file, the package, a run's workdir or its authors' checkpoint.

Where a fuser is asked for, a rule without training (`fusion.rule_options`) has a name like weights.
"""

import datetime
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from cfi_jax import systems
from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.engine import product
from cfi_jax.engine.config import Config
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.checkpoint import FOLDER
from cfi_jax.fusion import rule_options
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.rules import RuleFuser
from cfi_jax.weights import file, shipped
from cfi_jax.weights.file import Card


def load(path: str | os.PathLike) -> tuple[dict, Card]:
  """Variables and card of a weights file, or of shipped weights by their name.

  Raises `InputError` naming whatever is missing, extra or wrong.
  """
  if rule_options.is_rule(path):
    raise InputError(f"{path} is a rule without weights; allowed here: weights")
  resolved = shipped.resolve(path)
  if not resolved.exists():
    names = ", ".join(shipped.SHA256)
    raise InputError(
      f"{resolved}: does not exist; without a file there are {names}, and to fuse the rules "
      f"{rule_options.NAMES}"
    )
  return file.read(resolved, shapes)


def digest(path: str | os.PathLike) -> str:
  """SHA-256 (hex) of a weights file, of shipped weights by their name, or of a rule's options."""
  if rule_options.is_rule(path):
    return hashlib.sha256(label(path).encode()).hexdigest()
  return hashlib.sha256(storage.path(shipped.resolve(path)).read_bytes()).hexdigest()


def save(path: str | os.PathLike, variables: Mapping, card: Card) -> None:
  """Writes variables as float32 with their card, atomically; refuses those that do not fit."""
  file.write(path, variables, card, shapes)


def shapes(card: Card) -> Mapping:
  """The variables that a card promises, as float32 shapes."""
  return systems.find(card.system).shapes(card.architecture)


def load_fuser(
  path: str | os.PathLike = shipped.DEFAULT,
  *,
  dtype: str = "float32",
  devices: Sequence[jax.Device] | None = None,
) -> Fuser:
  """Inference with weights that the package carries or those of a .safetensors file, or by a rule.

  path: "visible-infrared", "medical", a file, or a rule without training: "wavelet", "laplacian",
    "average" or "maximum", with options as in "wavelet:gain=1.2,planes=5". A text that begins with
    a rule's name is the rule; a file or folder of that name is written as a path, "./wavelet".
  dtype: of the computation, "float32", "bfloat16" or "float64" (needs JAX_ENABLE_X64=1).
  devices: that share the work; default: one.
  """
  if rule_options.is_rule(path):
    return RuleFuser(rule_options.parse(path), dtype=dtype, devices=devices)
  variables, card = load(path)
  return make_fuser(variables, card, str(path), dtype=dtype, devices=devices)


def label(path: str | os.PathLike) -> str:
  """The name of a fuser in reports: a rule with all its options, or weights by name or file."""
  if rule_options.is_rule(path):
    return f"rule {rule_options.parse(path)}"
  return storage.path(path).stem


def load_any(path: str | os.PathLike, *, dtype: str = "float32") -> Any:
  """Inference with weights of any kind: what their system's `load` gives, fuser or not."""
  variables, card = load(path)
  return systems.find(card.system).load(variables, card.architecture, dtype=dtype, devices=None)


def make_fuser(
  variables: Mapping,
  card: Card,
  label: str = "these weights",
  *,
  dtype: str = "float32",
  devices: Sequence[jax.Device] | None = None,
) -> Fuser:
  """Inference with the variables of a card; refuses, under that label, systems that do not fuse."""
  system = systems.find(card.system)
  loaded = system.load(variables, card.architecture, dtype=dtype, devices=devices)
  if not isinstance(loaded, Fuser):
    raise InputError(f"{label}: weights of the system {card.system!r}, which fuses no images")
  return loaded


def load_transferrer(path: str | os.PathLike, *, dtype: str = "float32") -> Transferrer:
  """Pose transfer with a weights file; refuses, by its name, systems that do something else."""
  loaded = load_any(path, dtype=dtype)
  if not isinstance(loaded, Transferrer):
    system = load(path)[1].system
    raise InputError(f"{path}: weights of the system {system!r}, which transfers no poses")
  return loaded


def read(path: str | os.PathLike) -> tuple[Mapping, Card]:
  """Variables and card of a weights file or shipped weights, of the authors' .pth file, of a
  workdir, or of one checkpoint in it."""
  found = storage.path(path)
  if os.fspath(path) in shipped.SHA256 or found.suffix == ".safetensors":
    return load(path)
  if not found.exists():
    raise InputError(f"{found}: does not exist")
  if found.is_file():
    return from_release(found)
  if found.parent.name == FOLDER and found.name.isdecimal():
    return from_workdir(found.parent.parent, int(found.name))
  return from_workdir(found)


def from_release(path: pathlib.Path) -> tuple[Mapping, Card]:
  """Variables and card of a checkpoint of a system's authors (`read_release` of the system)."""
  problems = []
  for name in systems.names():
    read_release = getattr(systems.find(name), "read_release", None)
    if read_release is None:
      continue
    try:
      variables, architecture, origin = read_release(path)
    except InputError as error:
      problems.append(str(error))
      continue
    return variables, Card(system=name, architecture=architecture, date=_modified(path), **origin)
  raise InputError("\n  ".join(dict.fromkeys(problems)))


def from_workdir(workdir: pathlib.Path, step: int | None = None) -> tuple[Mapping, Card]:
  """Variables and card of a checkpoint of one of our runs: `step`, or the best, or the last."""
  stored = record.read(workdir)
  if stored is None:
    raise InputError(f"{workdir}: no workdir of a run, there is no {record.FILE} in it")
  system = systems.find(stored["config"].get("system", Config.OLDER["system"]))
  return product.from_workdir(system, stored, workdir, step)


def _modified(path: pathlib.Path) -> str:
  time = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
  return time.date().isoformat()
