"""Weights of runs: those that their checkpoints hold, and those that another run begins with."""

import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import Architecture, State, System, Variables
from cfi_jax.engine.workdir import mirror, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.weights import file, shipped
from cfi_jax.weights.file import Card

NOT_RECIPE = ("data", "model")  # fields of a config that the card has elsewhere


def from_workdir(
  system: System, stored: Mapping[str, Any], workdir: pathlib.Path, step: int | None = None
) -> tuple[Variables, Card]:
  """Variables and card of a checkpoint of a run of the system: `step`, or the best, or the last.

  stored: the record of the workdir.
  """
  values, _ = config_lib.complete(stored["config"], system.Config.OLDER)
  config = config_lib.build(system.Config, values, f"{workdir / record.FILE}: config")
  template = _state_shapes(system, config)
  with Checkpoints(workdir, config.checkpoint, read_only=True) as checkpoints:
    if not checkpoints.steps:
      raise InputError(f"{workdir / FOLDER}: holds no checkpoint")
    if step is None:
      step = checkpoints.steps[-1] if checkpoints.best is None else checkpoints.best
    state = checkpoints.restore(template, sharding.make_mesh(jax.device_count()), step)
  variables, architecture = system.product(config, state)
  source = {k: v for k, v in stored["config"]["data"].items() if k != "root"}
  date = datetime.datetime.fromtimestamp(mirror.saved_at(workdir, step), datetime.UTC)
  return jax.device_get(variables), Card(
    system=config.system,
    architecture=dict(architecture),
    recipe=json.dumps({"step": step, **_recipe(values, config)}),
    data=json.dumps(source | stored["data"]),
    date=date.date().isoformat(),
    licence="not stated",
  )


def _state_shapes(system: System, config: Config) -> State:
  """Shapes and dtypes of the state, which are the same for any number of steps and any seed."""
  return jax.eval_shape(system.procedure(config, 1).init, jax.random.key(0))


def _recipe(values: Mapping[str, Any], config: Config) -> dict[str, Any]:
  """The deciding values of a config, without those that a card has elsewhere."""

  def decide(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    kept = {k: v for k, v in values.items() if f"{where}{k}" not in config.OPERATIONAL}
    return {k: decide(v, f"{where}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}

  return decide({k: v for k, v in values.items() if k not in NOT_RECIPE}, "")


def read_initial(
  system: System, config: Config, workdir: pathlib.Path
) -> tuple[Variables | None, dict[str, str]]:
  """Variables that a run begins with, None for random ones, and what identifies them.

  A run that has begun and names the same place does not read it again: the file may be gone by now,
  or the run that it names may have gone on. Raises `InputError` for weights of another system or
  another architecture than the config's.
  """
  if not config.init_from:
    return None, {}
  stored = record.read(workdir)
  same = stored is not None and stored["config"].get("init_from") == config.init_from
  if same and record.has_checkpoints(workdir):
    return None, {"init": stored["data"].get("init")}
  variables, card = _read(system, config)
  wanted, architecture = system.product(config, _state_shapes(system, config))
  added = _check_architecture(config, card.architecture, architecture)
  flat, shapes = (traverse_util.flatten_dict(dict(tree), sep="/") for tree in (variables, wanted))
  flat |= {n: np.zeros(x.shape) for n, x in shapes.items() if n.startswith(tuple(added))}
  digest = hashlib.sha256()
  for name in sorted(flat):
    flat[name] = np.asarray(flat[name], np.float32)
    digest.update(f"{name} {flat[name].shape}\n".encode() + flat[name].tobytes())
  cast = {name: flat[name].astype(leaf.dtype) for name, leaf in shapes.items()}
  return traverse_util.unflatten_dict(cast, sep="/"), {"init": digest.hexdigest()}


def _read(system: System, config: Config) -> tuple[Variables, Card]:
  """The weights that `config.init_from` names."""
  path = shipped.resolve(config.init_from)
  step = None
  if path.parent.name == FOLDER and path.name.isdecimal():
    path, step = path.parent.parent, int(path.name)
  stored = record.read(path) if path.is_dir() else None
  if stored:
    name = stored["config"].get("system", Config.OLDER["system"])
    _check_system(config, name)
    return from_workdir(system, stored, path, step)
  if path.suffix != ".safetensors" or not path.is_file():
    raise InputError(
      f"config.init_from is {config.init_from!r}; allowed: the workdir of a run, "
      f"WORKDIR/{FOLDER}/STEP, a weights file (.safetensors; python -m cfi_jax.convert makes one)"
      + "".join(f", {name}" for name in shipped.of(config.system))
    )

  def shapes(card: Card) -> Mapping:
    _check_system(config, card.system)
    return system.shapes(card.architecture)

  return file.read(path, shapes)


def _check_system(config: Config, name: str) -> None:
  if name != config.system:
    raise InputError(
      f"config.init_from={config.init_from} holds weights of the system {name!r}; "
      f"config.system is {config.system!r}"
    )


def _check_architecture(config: Config, there: Architecture, own: Architecture) -> list[str]:
  """Refuses weights of another architecture, with every field that differs.

  Returns prefixes of the variables of parts that the config has and they lack (`Config.ADDED`).

  Files hold lists where configs have tuples, which is no difference, and those of earlier versions
  lack fields.
  """
  whole = config_lib.complete({"model": there}, config.OLDER)[0]["model"]
  # Of the fields that were added to configs, those that an architecture has.
  there = {name: value for name, value in whole.items() if name in there or name in own}
  there, own = (json.loads(json.dumps(architecture)) for architecture in (there, own))
  added = [name for name in config.ADDED if there.get(name) == "none" != own.get(name, "none")]
  different = [
    f"{name} is {there.get(name)!r}, not {own.get(name)!r}"
    for name in sorted({*there, *own})
    if there.get(name) != own.get(name) and name not in added
  ]
  if different:
    raise InputError(
      f"config.init_from={config.init_from} does not fit this config: {'; '.join(different)}; "
      "give the config the architecture of the weights"
    )
  return [config.ADDED[name] for name in added]
