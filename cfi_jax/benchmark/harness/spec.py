"""The order that a contender gets, and the protocol that it follows.

This module imports neither JAX nor PyTorch, which would count as the other's memory.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spec:
  """A contender's order.

  task: "fuse", "train" or "gradients". name: see `JAX_NAMES`, `TORCH_NAMES`. folder: with the
  task's files. dtype: of the computation. resident: data stays on the device, else it comes from
  and goes to the host's memory in every run. model: fields of the config's model that it changes.
  """

  task: str
  name: str
  folder: str
  dtype: str
  resident: bool
  model: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def file(self, name: str) -> pathlib.Path:
    """A file that the task put there."""
    return pathlib.Path(self.folder, name)


class Contender(Protocol):
  """The result of `make` of `ours` and `torch_contenders`: weights and data are loaded."""

  def prepare(self) -> None:
    """Compiles."""

  def run(self, count: int) -> None:
    """Does the work `count` times and returns when it is done."""

  def output(self) -> dict[str, np.ndarray]:
    """The result, to be compared with others': of fusing any run's, of training the first's."""

  def facts(self) -> dict[str, float | str | None]:
    """device, compile_seconds, flops, bytes, device_peak_mb, program_mb: see `results.Row`."""
