"""Trains a system: a fusion network, by default.

  python -m cfi_jax.main --config=configs/msrs.py --workdir=runs/msrs

Stopped, the same command goes on from the last checkpoint. Exits with 1 when the loss is not
finite, with 2 when the config or the data cannot be used.
"""

import sys
from typing import Any

from cfi_jax.core import cli, storage
from cfi_jax.core.types import InputError
from cfi_jax.engine.cluster.flags import FLAGS as PROCESSES

FLAGS = {
  "config": cli.NEEDED_CONFIG,
  "workdir": cli.Flag("folder of the run: checkpoints, logs, pictures", required=True),
  "status_when_stopped": cli.Flag(
    "exit status where a signal ends the run before its last step; other than 0, it tells a "
    "scheduler to start again",
    0,
  ),
  **PROCESSES,
}
_AGAIN = "the same command goes on from the last checkpoint"


def main(given: dict[str, Any]) -> int:
  """Runs the training that the flags describe."""
  from cfi_jax.engine.cluster import processes  # imported here, as help needs no JAX

  return processes.run(processes.from_flags(given), lambda: _train(given), _AGAIN)


def _train(given: dict[str, Any]) -> int:
  import jax

  from cfi_jax import systems
  from cfi_jax.engine import compilation, loop
  from cfi_jax.engine.workdir.logs import DivergedError

  stopped = given["status_when_stopped"]
  if not 0 <= stopped < 126:
    raise InputError(f"--status_when_stopped={stopped}; allowed: 0 to 125, as shells use others")
  system, config = systems.configure(given["config"])
  compilation.use_cache()
  try:
    steps = loop.train(system, config, storage.path(given["workdir"]))
  except DivergedError as error:  # in every process, as all have the same loss
    if jax.process_index() == 0:
      print(f"stopped: the loss is not finite at {error}; last checkpoint kept", file=sys.stderr)
    return 1
  return 0 if steps.whole else stopped


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
