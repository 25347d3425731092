"""Command lines: a table of flags, `--config=FILE` with overrides, help, and exit codes.

A command is a function of the values of its flags, their table, and a docstring with an example:
`cli.run(main, {"output": cli.Flag("folder to write", required=True)}, __doc__)`.
"""

import ast
import dataclasses
import os
import pathlib
import re
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, logging
from absl import flags as absl_flags
from ml_collections import config_dict, config_flags

from cfi_jax.core import files, interruption, storage
from cfi_jax.core.config import guess, load
from cfi_jax.core.types import InputError, KnownError
from cfi_jax.core.version import VERSION

# How JAX's error begins where there is no device, and the file of JAX that looks for devices.
_NO_DEVICE, _BRIDGE = "Unable to initialize backend", "xla_bridge.py"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^,'\"\s]*")
HELP = ("--help", "-help", "-h", "--helpfull", "--helpshort")
SHOW_VERSION = ("--version", "-version")
WIDTH = 100
INTERRUPTED = interruption.STATUS


@dataclasses.dataclass(frozen=True)
class Flag:
  """A flag of a command.

  text: its help. kind: str, int, float, bool, list (with commas) or tuple (may be repeated); that
  of the default, if there is one. valid: the values allowed, any where it is empty.
  """

  text: str
  default: Any = None
  kind: type = str
  required: bool = False
  valid: Sequence[str] = ()

  def define(self, name: str, values: absl_flags.FlagValues) -> None:
    """Declares the flag to absl."""
    kind = self.kind if self.default is None else type(self.default)
    _DEFINE[kind](name, self.default, self.text, flag_values=values)

  def describe(self, name: str) -> str:
    """The flag with its help and its default."""
    switch = self.kind is bool or isinstance(self.default, bool)
    text = f"{self.text}; one of {', '.join(self.valid)}" if self.valid else self.text
    default = ", ".join(self.default) if isinstance(self.default, list | tuple) else self.default
    known = "none" if default in (None, "") else default
    state = "required" if self.required and not self.default else f"default: {known}"
    return _entry(f"--[no]{name}" if switch else f"--{name}", f"{text} ({state})")


_DEFINE: dict[type, Callable[..., Any]] = {
  str: absl_flags.DEFINE_string,
  int: absl_flags.DEFINE_integer,
  float: absl_flags.DEFINE_float,
  bool: absl_flags.DEFINE_bool,
  list: absl_flags.DEFINE_list,
  tuple: absl_flags.DEFINE_multi_string,
}
CONFIG = Flag("config file, or its name among those of the package; FILE:RECIPE takes a recipe")
NEEDED_CONFIG = dataclasses.replace(CONFIG, required=True)
_VERBOSITY = Flag("what libraries report: 0 all, -1 warnings, -2 errors", logging.ERROR)


def run(main: Callable[[dict[str, Any]], int], flags: Mapping[str, Flag], doc: str) -> None:
  """Runs a command with the arguments of this process, and exits."""

  def finish(_: Sequence[str]) -> int:
    found = status(main, flags, doc, sys.argv[1:])
    if found == INTERRUPTED:
      # At once: where Ctrl-C comes while JAX (0.10) compiles, taking Python down ends in a crash.
      sys.stdout.flush()  # stderr is flushed at every line
      os._exit(found)
    return found

  app.run(finish, argv=sys.argv[:1])


def status(
  main: Callable[[dict[str, Any]], int],
  flags: Mapping[str, Flag],
  doc: str,
  arguments: Sequence[str],
) -> int:
  """The exit status of a command; no traceback follows what is not the program's fault.

  2 after a `KnownError`, an accident of the file system or a device that is not there, which are
  printed; 130 after Ctrl-C.
  """
  try:
    if set(arguments) & set(HELP):
      print(describe(flags, doc, arguments))
      return 0
    if set(arguments) & set(SHOW_VERSION):
      print(f"cfi_jax {VERSION}")
      return 0
    given = parse(flags, arguments)
    logging.set_verbosity(given.pop("verbosity"))
    return main(given)
  except KnownError as error:
    return refuse(error)
  except (OSError, RuntimeError, AssertionError) as error:
    reason = files.accident(error) if isinstance(error, OSError) else _missing_device(error)
    if reason is None:
      raise
    return refuse(reason)
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr, flush=True)
    return INTERRUPTED


def _missing_device(error: Exception) -> str | None:
  """Sentence on a device of $JAX_PLATFORMS that is not there; None for other errors."""
  *_, frame = traceback.extract_tb(error.__traceback__)
  # Of CUDA without its plugin JAX has no word, but an assertion in the file that looks for devices.
  asserted = isinstance(error, AssertionError) and pathlib.Path(frame.filename).name == _BRIDGE
  if not asserted and not str(error).startswith(_NO_DEVICE):
    return None
  wanted = os.environ.get("JAX_PLATFORMS", "")
  said = " ".join(str(error).split()) or "there is no such device, or JAX has no plugin for it"
  return f"JAX_PLATFORMS={wanted}: {said}; without JAX_PLATFORMS JAX takes what is here"


def refuse(error: Exception | str) -> int:
  """Prints what cannot be used and returns the exit status, 2."""
  print(f"error: {error}", file=sys.stderr, flush=True)
  return 2


def choose(commands: Mapping[str, pathlib.Path], doc: str, arguments: Sequence[str]) -> str | None:
  """The command that the first argument names; None after printing help or the version.

  commands: the file of each by name; its docstring begins with a line for the list.
  """
  if arguments and arguments[0] in HELP:
    lines = [_entry(name, docstring(path).splitlines()[0]) for name, path in commands.items()]
    print("\n".join([doc.strip(), "", *lines]))
    return None
  if arguments and arguments[0] in SHOW_VERSION:
    print(f"cfi_jax {VERSION}")
    return None
  if not arguments:
    raise InputError(f"a command is missing; valid: {', '.join(commands)}")
  if arguments[0] not in commands:
    near = guess(arguments[0], list(commands))
    raise InputError(f"no command {arguments[0]!r}{near}; valid: {', '.join(commands)}")
  return arguments[0]


def docstring(path: pathlib.Path) -> str:
  """The docstring of a module's file, without importing it."""
  return ast.get_docstring(ast.parse(path.read_text())) or ""


def describe(flags: Mapping[str, Flag], doc: str, arguments: Sequence[str]) -> str:
  """The help of a command; with --config=FILE among the arguments also the values of the file."""
  lines = [doc.strip(), "", *(flag.describe(name) for name, flag in flags.items())]
  if "config" in flags:
    override = "overrides a value of the config; --config=FILE --help lists all of them"
    lines.append(_entry("--config.a.b=VALUE", override))
  lines.append(_VERBOSITY.describe("verbosity"))
  lines.append(_entry(SHOW_VERSION[0], "prints the version of cfi_jax"))
  path, _ = _take_config(arguments)
  if "config" in flags and path:
    lines += ["", f"Values of {path}:", *_values(load(path), "--config")]
  return "\n".join(lines)


def parse(flags: Mapping[str, Flag], arguments: Sequence[str]) -> dict[str, Any]:
  """The values of the flags by name; that of "config" is a dict of the file's values, or None.

  Raises `InputError` for what is no flag or has no such value, for a required flag without a value,
  and for files and keys of configs that do not exist.
  """
  for argument in arguments:  # before any message shows one
    for text in _URL.findall(argument):
      storage.check_secret(text)
  values, config, path = absl_flags.FlagValues(), None, None
  if "config" in flags:
    path, arguments = _take_config(arguments)
    config = _load(path, arguments)
  others = {name: flag for name, flag in flags.items() if name != "config"}
  others["verbosity"] = _VERBOSITY
  argv = ["", *(re.sub(r"^--no-", "--no", argument) for argument in arguments)]
  try:
    for name, flag in others.items():
      flag.define(name, values)
    if config is not None:
      config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
    rest = values(argv)[1:]
  except absl_flags.UnrecognizedFlagError as error:
    name = f"--{error.flagname}"
    near = guess(name, [f"--{flag}" for flag in flags])
    raise InputError(f"unexpected argument {name!r}{near}; --help lists all") from error
  except (absl_flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
    raise InputError(f"the command line cannot be read: {error}") from error
  if rest:
    raise InputError(f"unexpected argument {rest[0]!r}; values are given as --flag=value")
  given = {name: values[name].value for name in others}
  if "config" in flags:
    given["config"] = None if config is None else values.config.to_dict()
  for name, flag in flags.items():
    if flag.required and given[name] in (None, "", {}):
      raise InputError(f"--{name} is missing; it is required: {flag.text}")
    if flag.valid and given[name] not in (flag.default, *flag.valid):
      raise InputError(f"--{name}={given[name]}; allowed: {', '.join(flag.valid)}")
  return given


def read(arguments: Sequence[str]) -> dict[str, Any]:
  """The values of `--config=FILE --config.a.b=value`."""
  return parse({"config": NEEDED_CONFIG}, arguments)["config"]


def _take_config(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
  """The value of the last --config, and the other arguments."""
  path, others, rest = None, [], iter(arguments)
  for argument in rest:
    if argument in ("-config", "--config"):
      path = next(rest, None)
    elif match := re.match(r"--?config=(.*)", argument):
      path = match[1]
    else:
      others.append(argument)
  return path, others


def _load(path: str | None, arguments: Sequence[str]) -> config_dict.ConfigDict | None:
  """The config of a file; refuses overrides of keys that it does not have."""
  overrides = [m for m in (re.match(r"--?(?:no)?config\.([^=]*)", a) for a in arguments) if m]
  if not path:
    if overrides:
      raise InputError(f"{overrides[0][0]} without --config=FILE")
    return None
  config = load(path)
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
  return config


def _values(values: Any, where: str) -> list[str]:
  """All values below a key of a config, each as the argument that sets it."""
  if hasattr(values, "items") and values:
    return [line for key, below in values.items() for line in _values(below, f"{where}.{key}")]
  text = shlex.quote(f"{where}={values}")
  return ["  " + (text.replace("'\"'\"'", "\0").replace("'", '"').replace("\0", "'"))]


def _entry(name: str, text: str) -> str:
  """A line of a list, wrapped."""
  indent = " " * 24
  first = f"  {name}".ljust(len(indent) - 2) + "  "
  return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=indent)
