"""Typed, complete configurations: nothing missing, nothing unknown.

A config file defines get_config() -> ml_collections.ConfigDict; `build` turns its values into a
dataclass.
"""

import copy
import dataclasses
import difflib
import math
import os
import pathlib
import re
import runpy
import traceback
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, KnownError

_PACKAGE = pathlib.Path(__file__).parents[1]
# Of the configs that travel with the package: in a wheel inside it, in a checkout beside it.
FOLDER = (_PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent) / "configs"


def build(cls: type, values: Mapping[str, Any], where: str = "config") -> Any:
  """An instance of the dataclass `cls` from nested mappings; `InputError` names what is wrong."""
  hints = typing.get_type_hints(cls)
  valid = [field.name for field in dataclasses.fields(cls)]
  unknown = [key for key in values if key not in valid]
  missing = [key for key in valid if key not in values]
  if unknown or missing:
    problems = [f"unknown {key!r}{guess(key, valid)}" for key in unknown]
    problems += [f"missing {key!r}" for key in missing]
    raise InputError(f"{where}: {', '.join(problems)}; valid keys: {', '.join(valid)}")
  return cls(**{k: _convert(hints[k], values[k], f"{where}.{k}") for k in valid})


def complete(
  values: Mapping[str, Any], older: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
  """Stored values with the fields that an older version did not have, and what was filled.

  older: value by path, such as {"model.levels": 3}; where a path's parent is missing nothing is
  filled, and below "data:folder" only where the name in it is "folder". The lines are "path=value".
  """
  values, filled = copy.deepcopy(dict(values)), []
  for path, value in older.items():
    *parents, key = path.split(".")
    node: Any = values
    for parent in parents:
      parent, _, name = parent.partition(":")
      node = node.get(parent) if isinstance(node, dict) else None
      if name and isinstance(node, dict) and node.get("name") != name:
        node = None
    if isinstance(node, dict) and key not in node:
      node[key] = value
      filled.append(f"{re.sub(':[^.]*', '', path)}={value!r}")
  return values, filled


def _convert(hint: Any, value: Any, where: str) -> Any:
  """`value` as the type `hint`; only whole numbers become floats and lists become tuples."""
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
    return build(hint, value, where)
  if hint is Any or (hint in (int, str, bool) and type(value) is hint):
    return value
  if hint is float and type(value) in (int, float) and math.isfinite(value):
    return float(value)
  if origin is dict and isinstance(value, Mapping):
    return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
  if origin is tuple and isinstance(value, (tuple, list)):
    kinds = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
    if len(kinds) == len(value):
      return tuple(_convert(k, v, where) for k, v in zip(kinds, value, strict=True))
  kind = hint.__name__ if origin is None else str(hint)
  raise InputError(f"{where} is {value!r}; it must be a {kind}")


def guess(key: str, valid: Sequence[str]) -> str:
  """ " (did you mean ...?)", or nothing where no valid key is near."""
  close = difflib.get_close_matches(key, valid, n=1)
  return f" (did you mean {close[0]!r}?)" if close else ""


def find(name: str) -> pathlib.Path:
  """The config file of a path; where there is none, that of the package under such a name.

  name: a path, or NAME, NAME.py or configs/NAME.py for the configs that travel with the package.
  """
  path = storage.path(name)
  if path.is_file():
    return path
  shipped = {file.stem: file for file in sorted(FOLDER.glob("*.py"))}
  if name.removeprefix("configs/").removesuffix(".py") in shipped:
    return shipped[path.stem]
  raise InputError(
    f"--config={name}: there is no such file{guess(path.stem, list(shipped))}; configs of the "
    f"package: {', '.join(shipped)}"
  )


def load(path: str) -> Any:
  """The result of get_config() of a config file (see `find`); FILE:STRING passes it the string."""
  scheme, mark, rest = path.rpartition("://")
  name, *argument = rest.split(":", 1)
  file = storage.local(find(scheme + mark + name))
  try:
    get_config = runpy.run_path(os.fspath(file)).get("get_config")
  except (Exception, SystemExit) as error:  # whatever the user's file does
    raise InputError(f"--config={path}: cannot be read: {_describe(error, file)}") from error
  if not callable(get_config):
    raise InputError(f"--config={path}: {file} defines no get_config()")
  try:
    found = get_config(*argument)
  except KnownError:
    raise
  except (Exception, SystemExit) as error:
    raise InputError(f"--config={path}: {_describe(error, file)}") from error
  if not isinstance(found, ConfigDict):
    kind = type(found).__name__
    raise InputError(
      f"--config={path}: get_config() of {file} returns a {kind}; it must return a "
      "ml_collections.ConfigDict"
    )
  return found


def _describe(error: BaseException, file: pathlib.Path) -> str:
  """One line on the error that a config file raised, with its place in the file."""
  line = f"{type(error).__name__}: {' '.join(str(error).split())}"
  frames = traceback.extract_tb(error.__traceback__)
  lines = [frame.lineno for frame in frames if frame.filename == os.fspath(file)]
  return f"{line} (line {lines[-1]})" if lines else line
