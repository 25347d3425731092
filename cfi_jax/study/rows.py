"""Rows of a study that are whole training configs, of any system, and what distinguishes them."""

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from cfi_jax import systems
from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config
from cfi_jax.study import grid


@dataclasses.dataclass(frozen=True)
class Recipes(grid.Rows):
  """Recipes trained from several seeds.

  rows: whole training configs by name, values of the config of the system that each names; their
    seeds are replaced.
  """

  rows: dict[str, Any]

  def __post_init__(self):
    """Makes typed configs of the rows; refuses unknown names, doubles and runs that cannot be."""
    rows = {name: _typed(name, values) for name, values in self.rows.items()}
    object.__setattr__(self, "rows", rows)
    self.check_rows(rows)

  def config(self, row: str, seed: int) -> Config:
    """The training config of a row from a seed."""
    return dataclasses.replace(self.rows[row], seed=seed)


def _typed(name: str, values: Any) -> Config:
  where = f"config.rows.{name}"
  if isinstance(values, Config):
    return values
  if not isinstance(values, Mapping):
    raise InputError(f"{where} is {values!r}; it must be the values of a training config")
  try:
    return systems.configure(dict(values), where)[1]
  except InputError as error:
    raise InputError(str(error) if where in str(error) else f"{where}: {error}") from error


def describe(study: Recipes) -> str:
  """Changes that make each row: the first of its system's release, others of the nearest before."""
  lines: list[str] = []
  known: dict[str, dict[str, Any]] = {}
  for row in study.order:
    own = flatten(dataclasses.asdict(study.rows[row]))
    earlier = known or _released(study.rows[row].system)
    changes = {name: differences(other, own) for name, other in earlier.items()}
    nearest = min(changes, key=lambda name: len(changes[name]), default="")
    text = f"{nearest}, but {', '.join(changes[nearest]) or 'nothing'}" if nearest else "as it is"
    lines.append(f"- `{row}`: {text}")
    known[f"`{row}`"] = own
  return "\n".join(lines)


def _released(system: str) -> dict[str, dict[str, Any]]:
  """The settings of the recipe that the authors of a system released, if any, by its name.

  It is `recipes.released` of the system's folder, which DFC-Net's does not have.
  """
  name = f"cfi_jax.systems.{system}.recipes"
  if importlib.util.find_spec(name) is None:
    return {}
  released = getattr(importlib.import_module(name), "released", None)
  return {"the recipe released": flatten(released().to_dict())} if released else {}


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
  """The settings of a row, `a.b` to a value, but for those that all rows have in common."""
  own = {**config, "data": {}, "validation_metrics": ()}
  return traverse_util.flatten_dict(own, sep=".")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Changes from `old` to `new` settings; the terms of a fusion loss can also be missing."""
  changed = [f"{key} {value}" for key, value in new.items() if old.get(key) != value]
  return changed + [f"no {key}" for key in old if key not in new]
