"""Subjects: what the benchmarks need to know of each system, one file each."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config

Arrays = dict[str, np.ndarray]
NAMES = ("amgfuse", "isfuse")


class Subject(Protocol):
  """A system to measure: a module of this folder satisfies it.

  FUSE: our contenders of fusing, by name. PLAIN: fields of a config, and of its model, that take
  all plain ways of computing. STREAM, CHANNELS: the system's stream of samples, and the channels of
  its images by name. SCHEDULE: where the counting of its costs is stated. STEP_TOLERANCE: the
  largest relative difference of a loss between contenders in float32 on a CPU.
  """

  FUSE: Mapping[str, Callable[[Spec], Contender]]
  PLAIN: Mapping[str, Any]
  STREAM: str
  CHANNELS: Mapping[str, int]
  SCHEDULE: str
  STEP_TOLERANCE: float

  def finish(self, config: Config) -> Callable[[dict, Any], Any]:
    """The `finish` of the stream."""

  def images(self, rows: int, height: int, width: int) -> Arrays:
    """The images of a batch by name, float32 in [0, 1], [B, H, W] or [B, H, W, C]."""

  def fuse_cost(
    self, architecture: Mapping[str, Any], batch: int, height: int, width: int, dtype: str
  ) -> Cost:
    """The needs of fusing a batch."""

  def step_cost(self, config: Config) -> Cost:
    """The needs of a training step of `config.batch_size` samples."""

  def fuse_tolerance(self, *, exact: bool) -> float:
    """The largest difference of a pixel between contenders; exact: all in float32 on a CPU."""

  def differ(self, reference: np.ndarray, fused: np.ndarray) -> float:
    """The difference of fused images that `fuse_tolerance` is about."""

  def case(self, config: Config) -> dict[str, Any]:
    """Entries of a report of training that tell of the config, beside sizes."""

  def settings(self, config: Config, steps: int) -> dict[str, Any]:
    """Settings of a config that PyTorch's step needs, for a run of so many steps."""

  def torch_state(self, variables: Mapping, architecture: Mapping[str, Any]) -> Arrays:
    """Variables under the names of PyTorch's network."""

  def torch_files(self, config: Config, images: Arrays) -> dict[str, Arrays]:
    """Arrays by file that PyTorch's step needs beside the state; of "inputs" beside the images."""


def find(system: str) -> Subject:
  """The subject of a system; InputError lists those that there are."""
  if system not in NAMES:
    raise InputError(f"nothing measures the system {system!r}; valid: {', '.join(NAMES)}")
  return importlib.import_module(f"{__name__}.{system}")


def require(system: str, wanted: str, part: str) -> None:
  """Raises InputError unless a part of the benchmarks, which measures `wanted`, can measure it."""
  if system != wanted:
    raise InputError(f"config.system is {system!r}; `{part}` measures {wanted} alone")
