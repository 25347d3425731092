"""Contenders: who does the work that is timed, each in a process of its own or in this one."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from cfi_jax.benchmark.harness import worker
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.core.types import InputError

JAX_NAMES = {"fuse": ("plain_graph", "cfi_jax"), "train": ("plain_step", "cfi_jax")}
TORCH_NAMES = {
  "fuse": ("torch_eager", "torch_compile"),
  "train": (
    "torch_eager", "torch_tf32", "torch_amp", "torch_channels_last", "torch_compile", "torch_all",
  ),
}  # fmt: skip
EXPORT_NAMES = {"fuse": ("stablehlo", "onnx"), "train": ()}  # run where they are asked for
NO_TORCH = "PyTorch is not installed (the extra `torch`): our side alone is measured"


class ContenderError(Exception):
  """A contender cannot do the work: out of memory, or its process ended."""


def choose(task: str, usual: Sequence[str], options: SimpleNamespace) -> tuple[list[str], list]:
  """(names, notes): those asked for, or the `usual` ones; PyTorch's only where it is installed."""
  valid = TORCH_NAMES[task] + JAX_NAMES[task] + EXPORT_NAMES[task]
  names = options.contenders or list(usual)
  for name in names:
    if name not in valid:
      raise InputError(f"--contenders: no contender {name!r}; valid: {', '.join(valid)}")
  if has_torch():
    return names, []
  ours = [name for name in names if name not in TORCH_NAMES[task]]
  if not ours:
    raise InputError(f"{NO_TORCH}; none of {', '.join(names)} can run")
  return ours, [NO_TORCH] if len(ours) < len(names) else []


def has_torch() -> bool:
  """Whether PyTorch is installed."""
  return importlib.util.find_spec("torch") is not None


class Process:
  """A contender in its own process, with the methods of `Local`.

  environment: variables of the process beside this one's. seconds: after so many it is killed.
  """

  def __init__(
    self, spec: Spec, environment: Mapping[str, str] = MappingProxyType({}), seconds: float = inf
  ):
    self._spec = spec
    # On a GPU several may be there at once: none takes the memory before it needs it.
    settings = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_CLIENT_MEM_FRACTION": "0.95"}
    self._process = subprocess.Popen(
      [sys.executable, "-m", worker.__name__, json.dumps(dataclasses.asdict(spec))],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
      env={**settings, **os.environ, **environment},
    )  # fmt: skip
    self._limit = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._process.kill)
    self._limit.daemon = True
    self._limit.start()
    try:
      self._answer()
    except ContenderError:
      self.close()
      raise

  def output(self) -> dict[str, np.ndarray]:
    """See `Contender`."""
    path = self._spec.file(f"{self._process.pid}.npz")
    self._ask(f"output {path}")
    with np.load(path) as arrays:
      return dict(arrays)

  def __getattr__(self, name: str) -> Callable[[], Any]:
    """`warm`, `seconds` and `facts` of its `Local`."""
    if name not in ("warm", "seconds", "facts"):
      raise AttributeError(name)
    return lambda: self._ask(name)

  def close(self) -> None:
    """Ends the process."""
    self._limit.cancel()
    with contextlib.suppress(BrokenPipeError):  # it may have been killed
      self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()

  def _ask(self, command: str) -> Any:
    try:
      self._process.stdin.write(command + "\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # `_answer` finds out what became of it
    return self._answer()

  def _answer(self) -> Any:
    for line in self._process.stdout:  # libraries may print other lines
      if line.startswith("answer "):
        answer = json.loads(line.removeprefix("answer "))
        if "error" in answer:
          raise ContenderError(answer["error"])
        return answer["value"]
    raise ContenderError(f"its process ended with status {self._process.wait()}")
