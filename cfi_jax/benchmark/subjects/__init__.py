"""Subjects: what the benchmarks need to know of each system, one file each."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config

Arrays = dict[str, np.ndarray]
NAMES = ("amgfuse", "dfcnet", "isfuse")
FUSING = ("amgfuse", "isfuse")  # which are measured in fusing, and beside PyTorch, too


class Sampled(NamedTuple):
  """A stream of samples: rows of a batch, channels of the images by name, and its `finish`."""

  rows: int
  channels: Mapping[str, int]
  finish: Callable[[dict, Any], Any]


class Subject(Protocol):
  """A system to measure in training: a module of this folder satisfies it.

  PLAIN: fields of a config, and of its model, that take all plain ways of computing. SCHEDULE:
  where the counting of its costs is stated. STEP_TOLERANCE: the largest relative difference of a
  loss between contenders in float32 on a CPU.
  """

  PLAIN: Mapping[str, Any]
  SCHEDULE: str
  STEP_TOLERANCE: float

  def streams(self, config: Config) -> dict[str, Sampled]:
    """The system's streams of samples."""

  def inputs(self, config: Config) -> Arrays:
    """The images of a batch of `rows`, float32 in [0, 1], [B, H, W] or [B, H, W, C].

    By name, of several streams by STREAM/NAME.
    """

  def rows(self, config: Config) -> int:
    """Samples of a step."""

  def step_cost(self, config: Config) -> Cost:
    """The needs of a training step."""

  def dtypes(self, config: Config) -> tuple[str, str]:
    """The dtype that is computed in, and that of the parameters."""

  def case(self, config: Config) -> dict[str, Any]:
    """Entries of a report of training that tell of the config, beside sizes."""

  def settings(self, config: Config, steps: int) -> dict[str, Any]:
    """The model, and what PyTorch's step needs for a run of so many steps."""


class FusingSubject(Subject, Protocol):
  """A system that fuses, with PyTorch beside it.

  FUSE: our contenders of fusing, by name. CHANNELS: of the images by name.
  """

  FUSE: Mapping[str, Callable[[Spec], Contender]]
  CHANNELS: Mapping[str, int]

  def images(self, rows: int, height: int, width: int) -> Arrays:
    """The images of a batch by name, float32 in [0, 1], [B, H, W] or [B, H, W, C]."""

  def fuse_cost(
    self, architecture: Mapping[str, Any], batch: int, height: int, width: int, dtype: str
  ) -> Cost:
    """The needs of fusing a batch."""

  def fuse_tolerance(self, *, exact: bool) -> float:
    """The largest difference of a pixel between contenders; exact: all in float32 on a CPU."""

  def differ(self, reference: np.ndarray, fused: np.ndarray) -> float:
    """The difference of fused images that `fuse_tolerance` is about."""

  def torch_state(self, variables: Mapping, architecture: Mapping[str, Any]) -> Arrays:
    """Variables under the names of PyTorch's network."""

  def torch_files(self, config: Config, images: Arrays) -> dict[str, Arrays]:
    """Arrays by file that PyTorch's step needs beside the state; of "inputs" beside the images."""


def find(system: str) -> Subject:
  """The subject of a system; InputError lists those that there are."""
  if system not in NAMES:
    raise InputError(f"nothing measures the system {system!r}; valid: {', '.join(NAMES)}")
  return importlib.import_module(f"{__name__}.{system}")


def find_fusing(system: str, part: str) -> FusingSubject:
  """The subject of a system that `part` of the benchmarks can measure; InputError lists them."""
  if system not in FUSING:
    raise InputError(f"`{part}` does not measure {system!r}; valid: {', '.join(FUSING)}")
  return find(system)


def require(system: str, wanted: str, part: str) -> None:
  """Raises InputError unless a part of the benchmarks, which measures `wanted`, can measure it."""
  if system != wanted:
    raise InputError(f"config.system is {system!r}; `{part}` measures {wanted} alone")
