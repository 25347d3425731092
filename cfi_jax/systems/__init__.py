"""Systems: networks with their training and their inference, one folder each."""

import importlib
import pkgutil
from typing import Any

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import System


def names() -> tuple[str, ...]:
  """The systems there are: the folders beside this file, and any that `__path__` was given."""
  return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg))


def find(name: str) -> System:
  """The system of that name; `InputError` lists the valid names."""
  if name not in names():
    raise InputError(f"config.system is {name!r}; valid: {', '.join(names())}")
  return importlib.import_module(f"cfi_jax.systems.{name}")


def configure(values: dict[str, Any], where: str = "config") -> tuple[System, Config]:
  """The system that the values of a config name, and its typed config."""
  if "system" not in values:
    raise InputError(f"{where}: missing 'system'; valid: {', '.join(names())}")
  system = find(values["system"])
  return system, config_lib.build(system.Config, values, where)
