"""The typed, complete configuration of a run, and how commands read it.

A config file defines get_config() -> ml_collections.ConfigDict; the command line may override its
values (`--config.a.b=value`). `build` turns it into a `Config`: nothing missing, nothing unknown.
"""

import dataclasses
import difflib
import itertools
import math
import re
import runpy
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from cfi_jax import interventions, metrics
from cfi_jax.checkpoint import CheckpointOptions
from cfi_jax.data.pipeline import Input
from cfi_jax.interventions import MaskOptions
from cfi_jax.losses import LossOptions
from cfi_jax.models.layers import StatisticsOptions
from cfi_jax.optim import OptimOptions
from cfi_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Config:
  """One training run.

  data: name of the data set and its options (`cfi_jax.data.DATASETS`).
  input: crops and augmentation. batch_size: global, over all devices.
  steps_per_dispatch: at most so many steps are given to the devices at once.
  epochs: passes over the training pairs; steps: if not 0, the number of steps instead.
  model: name of the model and its fields (`cfi_jax.models.MODELS`).
  statistics: what BatchNorm normalises by. masks, loss, optim: the training procedure.
  checkpoint: what is kept. *_every: in steps; the last step always logs, validates and saves.
  validation_pairs: at most so many pairs are validated on; pictures: so many of them are drawn.
  validation_metrics: fusion metrics of them (`cfi_jax.metrics.METRICS`), under metric_convention.
  share_encodings: whether an image that several views share is encoded once, and a blank one for
    one sample only; exact, and False is for measuring what it saves.
  rematerialise: whether a step keeps less in memory and computes more, on accelerators; XLA's CPU
    compiler joins both computations again.
  memory_gb: memory that a step may take on each device; 0: what the machine has.
  """

  seed: int
  data: dict[str, Any]
  input: Input
  batch_size: int
  steps_per_dispatch: int
  epochs: float
  steps: int
  model: dict[str, Any]
  statistics: StatisticsOptions
  masks: MaskOptions
  loss: LossOptions
  optim: OptimOptions
  checkpoint: CheckpointOptions
  log_every: int
  validate_every: int
  validation_pairs: int
  validation_metrics: tuple[str, ...]
  metric_convention: str
  pictures: int
  share_encodings: bool
  rematerialise: bool
  memory_gb: float

  def __post_init__(self):
    """Refuses numbers that no run can have."""
    counts = ("batch_size", "steps_per_dispatch", "log_every", "validate_every")
    for name in (*counts, "validation_pairs"):
      if getattr(self, name) < 1:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 1 or more")
    for name in ("steps", "epochs", "pictures", "memory_gb"):
      if getattr(self, name) < 0:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 0 or more")
    if not 0 <= self.seed < 2**31:
      raise InputError(f"config.seed is {self.seed}; allowed: 0 to {2**31 - 1}")
    for view in self.loss.views:
      interventions.get(view)
    self._check_metrics()
    if not self.steps and not self.epochs:
      raise InputError("config.steps and config.epochs are both 0; one must say how long to train")
    if self.masks.size[1] > self.input.crop:
      raise InputError(
        f"masks.size goes up to {self.masks.size[1]} pixels, more than input.crop {self.input.crop}"
      )

    planes = self.loss.target.planes
    if "multiscale" in self.loss.fusion and 2**planes >= self.input.crop:
      raise InputError(
        f"loss.target.planes is {planes}, whose coarsest reaches {2**planes} pixels; allowed: less "
        f"than input.crop, {self.input.crop}"
      )

  def _check_metrics(self) -> None:
    names = self.validation_metrics
    for metric in metrics.find_metrics(names, self.metric_convention) if names else ():
      side = metric.minimum_side(self.metric_convention)
      if self.input.crop < side:
        raise InputError(
          f"validation_metrics: {metric.name} needs images of {side} pixels or more, and "
          f"input.crop is {self.input.crop}"
        )
    best = {"loss": "lower"}
    best |= {name: metrics.find_metric(name).direction for name in self.validation_metrics}
    if best.get(self.checkpoint.best) != self.checkpoint.direction:
      valid = ", ".join(f"{name} ({direction})" for name, direction in best.items())
      raise InputError(
        f"checkpoint.best is {self.checkpoint.best!r} ({self.checkpoint.direction}); valid: {valid}"
      )


def build(cls: type, values: Mapping[str, Any], where: str = "config") -> Any:
  """An instance of the dataclass `cls` from nested mappings; `InputError` names what is wrong."""
  hints = typing.get_type_hints(cls)
  valid = [field.name for field in dataclasses.fields(cls)]
  unknown = [key for key in values if key not in valid]
  missing = [key for key in valid if key not in values]
  if unknown or missing:
    problems = [f"unknown {key!r}{_guess(key, valid)}" for key in unknown]
    problems += [f"missing {key!r}" for key in missing]
    raise InputError(f"{where}: {', '.join(problems)}; valid keys: {', '.join(valid)}")
  return cls(**{k: _convert(hints[k], values[k], f"{where}.{k}") for k in valid})


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


def _guess(key: str, valid: Sequence[str]) -> str:
  close = difflib.get_close_matches(key, valid, n=1)
  return f" (did you mean {close[0]!r}?)" if close else ""


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
  config = _load(paths[-1])
  for override in overrides:
    values, where = config, "config"
    for key in override[1].split("."):
      valid = list(values) if isinstance(values, Mapping) or hasattr(values, "keys") else []
      if key not in valid:
        raise InputError(
          f"{override[0]}: no key {key!r} in {where}{_guess(key, valid)}; "
          f"valid keys: {', '.join(valid) or 'none'}"
        )
      values, where = values[key], f"{where}.{key}"


def _load(path: str) -> Any:
  """What get_config() of the file returns; FILE:STRING passes it the string."""
  file, *argument = path.split(":", 1)
  try:
    get_config = runpy.run_path(file).get("get_config")
  except (OSError, ImportError, SyntaxError) as error:
    raise InputError(f"--config={path}: cannot be read: {error}") from error
  if get_config is None:
    raise InputError(f"--config={path}: {file} defines no get_config()")
  try:
    return get_config(*argument)
  except TypeError as error:
    raise InputError(f"--config={path}: {error}") from error
