"""Command lines: flags, `--config=FILE` with overrides (`--config.a.b=value`), and exit codes."""

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from cfi_jax.core.config import guess, load
from cfi_jax.core.types import InputError


def read(arguments: Sequence[str]) -> dict[str, Any]:
  """The values of `--config=FILE --config.a.b=value`; for a command that reads its other flags.

  Raises `InputError` for what is neither, and for files and keys that do not exist.
  """
  for argument in arguments:
    if not re.match(r"--?(no)?config[.=]", argument):
      raise InputError(f"unexpected argument {argument!r}; values are given as --flag=value")
  argv, values = ["", *arguments], flags.FlagValues()
  _check_overrides(argv)
  config_flags.DEFINE_config_file(
    "config", None, lock_config=True, flag_values=values, sys_argv=argv
  )
  try:
    values(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    raise InputError(f"the command line cannot be read: {error}") from error
  return values.config.to_dict()


def define_flag() -> flags.FlagHolder:
  """Declares `--config`; called by a command, not on import of a library module."""
  text = "config file, or FILE:RECIPE; override values by --config.a.b=value"
  return config_flags.DEFINE_config_file("config", None, text, lock_config=True)


def flag_values(argv: list[str], names: Iterable[str], required: Iterable[str]) -> dict[str, Any]:
  """The values of a command's flags by name; argv: what absl leaves of the command line.

  Raises `InputError` for an argument that is no flag, and for a flag in `required` without a value.
  """
  if len(argv) > 1:
    raise InputError(f"unexpected argument {argv[1]!r}; values are given as --flag=value")
  values = {name: flags.FLAGS[name].value for name in names}
  for name in required:
    if not values[name]:
      raise InputError(f"--{name} is missing; it is required: {flags.FLAGS[name].help}")
  return values


def run(main: Callable[[list[str]], int | None]) -> None:
  """Runs a command: an `InputError` is printed without a traceback and exits with status 2."""

  def guarded(argv: list[str]) -> int | None:
    try:
      return main(argv)
    except InputError as error:
      return refuse(error)

  def parse(argv: list[str]) -> list[str]:
    try:
      _check_overrides(argv)
      return flags.FLAGS(argv)
    except (InputError, flags.Error) as error:
      sys.exit(refuse(error))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # from ml_collections
      sys.exit(refuse(f"the command line cannot be read: {error}"))

  logging.set_verbosity(logging.ERROR)  # --verbosity=0 shows what the libraries report
  app.run(guarded, flags_parser=parse)


def refuse(error: Exception | str) -> int:
  """Prints what cannot be used and returns the exit status, 2."""
  print(f"error: {error}", file=sys.stderr, flush=True)
  return 2


def _check_overrides(argv: Sequence[str]) -> None:
  """Refuses a missing or broken config file and overrides of keys it does not have."""
  paths = [match[1] for match in (re.match(r"--?config=(.+)", a) for a in argv) if match]
  paths += [path for flag, path in itertools.pairwise(argv) if flag in ("-config", "--config")]
  overrides = [m for m in (re.match(r"--?(?:no)?config\.([^=]*)", a) for a in argv) if m]
  if not paths:
    if overrides:
      raise InputError(f"{overrides[0][0]} without --config=FILE before it")
    return
  config = load(paths[-1])
  for override in overrides:
    values, where = config, "config"
    for key in override[1].split("."):
      valid = list(values) if isinstance(values, Mapping) or hasattr(values, "keys") else []
      if key not in valid:
        raise InputError(
          f"{override[0]}: no key {key!r} in {where}{guess(key, valid)}; "
          f"valid keys: {', '.join(valid) or 'none'}"
        )
      values, where = values[key], f"{where}.{key}"
