"""A contender at work: `python -m cfi_jax.benchmark.harness.worker SPEC`, told by standard input.

This module imports neither JAX nor PyTorch, which would count as the other's memory.
"""

import json
import math
import pathlib
import re
import resource
import sys
import time
from typing import Any

import numpy as np

from cfi_jax.benchmark.harness.spec import Contender, Spec

TURN_SECONDS = 0.2  # a measurement repeats the run until it takes about so long
MOST_REPEATS = 200


def peak_mb(process: int | str = "self") -> float:
  """Peak resident size of a process, this one by default; 0 when it has ended.

  Of the program that runs: getrusage also counts what the process was before it (the parent).
  """
  path = pathlib.Path("/proc", str(process), "status")
  if path.exists():
    found = re.search(r"VmHWM:\s+(\d+) kB", path.read_text())
    return int(found[1]) / 1e3 if found else 0.0
  if process != "self":
    return 0.0
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB, on macOS bytes
  return peak / (1e6 if sys.platform == "darwin" else 1e3)


class Local:
  """A contender in this process."""

  def __init__(self, spec: Spec):
    if spec.name.startswith("torch"):
      from cfi_jax.benchmark.rivals import torch_contenders as side
    elif spec.task == "gradients":
      from cfi_jax.benchmark.harness import gradients as side
    else:
      from cfi_jax.benchmark.harness import ours as side
    self._contender: Contender = side.make(spec)
    self._loaded = peak_mb()
    self._contender.prepare()
    self._repeats = 1

  def output(self) -> dict[str, np.ndarray]:
    """See `Contender`."""
    return self._contender.output()

  def warm(self) -> None:
    """Runs, and finds how many runs last `TURN_SECONDS`; comes before `seconds`."""
    self._contender.run(1)
    self._repeats = min(MOST_REPEATS, max(1, math.ceil(TURN_SECONDS / self._time(1))))

  def seconds(self) -> float:
    """Seconds of one run, the mean of so many."""
    return self._time(self._repeats)

  def _time(self, count: int) -> float:
    began = time.perf_counter()
    self._contender.run(count)
    return (time.perf_counter() - began) / count

  def facts(self) -> dict[str, float | None]:
    """The contender's, and the memory of the process so far."""
    peak = peak_mb()
    memory = {"peak_mb": peak, "growth_mb": peak - self._loaded}
    return self._contender.facts() | memory | {"repeats": self._repeats}

  def close(self) -> None:
    """Nothing is left to end."""


def serve(spec: Spec) -> None:
  """A contender's process: "output PATH", "warm", "seconds", "facts", until the input ends."""
  try:
    player = Local(spec)
    _reply(value=None)
    for line in sys.stdin:
      command, *path = line.split(maxsplit=1)
      if command == "output":
        np.savez(path[0].strip(), **player.output())
        _reply(value=None)
      else:
        _reply(value=getattr(player, command)())
  except Exception as error:  # whatever a framework raises is reported by the parent
    _reply(error=f"{type(error).__name__}: {error}"[:500])


def _reply(**answer: Any) -> None:
  print(f"answer {json.dumps(answer)}", flush=True)


if __name__ == "__main__":
  serve(Spec(**json.loads(sys.argv[1])))
