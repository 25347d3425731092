"""One command as several processes: connecting them, and ending them together."""

import dataclasses
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils

from cfi_jax.core import files
from cfi_jax.core.types import InputError, KnownError
from cfi_jax.engine.cluster.flags import FLAGS
from cfi_jax.engine.cluster.watch import LOST_AFTER, End, Watch

AUTO = "auto"
# JAX's own watch, for when a process is too stuck to run Python: later than ours, within a minute.
HEARTBEAT_TIMEOUT = 45
LONGEST_WAIT = 7 * 24 * 3600  # seconds that a process waits at its end for the others


@dataclasses.dataclass(frozen=True)
class Place:
  """This process's place among several.

  coordinator: HOST:PORT where process 0 listens, or "auto": all is left to what JAX detects (a
    Slurm job step, a TPU pod, an indexed Kubernetes Job, Open MPI).
  processes: how many there are. process: which this is, from 0. Both None with "auto".
  """

  coordinator: str
  processes: int | None = None
  process: int | None = None

  def __post_init__(self):
    """Refuses what cannot be a place."""
    numbers = {"processes": self.processes, "process": self.process}
    if self.coordinator == AUTO:
      if given := [name for name, value in numbers.items() if value is not None]:
        raise InputError(f"--coordinator={AUTO} is given with --{given[0]}, which it finds out")
      return
    if missing := [f"--{name}" for name, value in numbers.items() if value is None]:
      raise InputError(
        f"--coordinator is given without {', '.join(missing)}; several processes need all three, "
        f"or --coordinator={AUTO}"
      )
    host, _, port = self.coordinator.rpartition(":")
    if not host or not port.isdigit():
      raise InputError(f"--coordinator={self.coordinator}; allowed: HOST:PORT of process 0, {AUTO}")
    if not 0 <= self.process < self.processes:
      raise InputError(
        f"--process={self.process} --processes={self.processes}; allowed: 0 <= process < processes"
      )


def from_flags(given: Mapping[str, Any]) -> Place | None:
  """The place that `flags.FLAGS` give; None where they say nothing: there is one process only."""
  values = {name: given[name] for name in FLAGS}
  named = [name for name, value in values.items() if value is not None]
  if named and values["coordinator"] is None:
    raise InputError(f"--{named[0]} is given without --coordinator; several processes need both")
  return Place(**values) if named else None


def run(
  place: Place | None, work: Callable[[], int], again: str, lost_after: float = LOST_AFTER
) -> int:
  """`work()`, after connecting this process with the others; returns what it returns.

  All end together: with a process that was lost or that stopped, within a minute, the others end
  as well, with a status other than 0 and a line that names it and then says `again`. An
  `KnownError` that all processes meet is printed once; the status is 2. With several processes this
  function does not return from a failure: the process ends.
  """
  if place is None:
    return work()
  watch = _connect(place, again, lost_after)
  try:
    status = work()
    client = multihost_utils.distributed.global_state.client
    client.wait_at_barrier("cfi_jax finished", timeout_in_ms=LONGEST_WAIT * 1000)
    watch.stop()
    return status
  except KnownError as error:
    watch.announce(End(2, str(error)))
    watch.leave(2, "" if watch.said_by_first(str(error)) else f"error: {error}")
  except KeyboardInterrupt:
    watch.announce(End(130, "interrupted"))
    watch.leave(130)
  except Exception as error:
    accident = files.accident(error) if isinstance(error, OSError) else None
    if accident:
      watch.announce(End(2, str(accident)))
      watch.leave(2, f"error: {accident}")
    watch.suspect()
    traceback.print_exc(file=sys.stderr)
    first = (str(error).splitlines() or [""])[0]
    watch.announce(End(1, f"{type(error).__name__}: {first}"))
    watch.leave(1)


def _connect(place: Place, again: str, lost_after: float) -> Watch:
  """Starts jax.distributed and the watch over the other processes."""
  found = {} if place.coordinator == AUTO else _arguments(place)
  watch = Watch(again, lost_after)
  try:
    jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT, **found)
  except ValueError as error:
    if found:
      raise
    raise InputError(
      f"--coordinator={AUTO}: JAX detects nothing it knows here (a Slurm job step, started by "
      "srun; the workers of a TPU; an indexed Kubernetes Job, with the package `kubernetes`; Open "
      "MPI); give --coordinator=HOST:PORT --processes=N --process=I"
    ) from error
  state = multihost_utils.distributed.global_state
  watch.start(state.client, state.coordinator_address, state.process_id, state.num_processes)
  return watch


def _arguments(place: Place) -> dict:
  """Arguments of jax.distributed.initialize, which then detects nothing."""
  return {
    "coordinator_address": place.coordinator,
    "num_processes": place.processes,
    "process_id": place.process,
    "cluster_detection_method": "deactivate",
  }
