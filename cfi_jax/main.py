"""Trains a system: a fusion network, by default.

  python -m cfi_jax.main --config=configs/msrs.py --workdir=runs/msrs

Stopped, the same command goes on from the last checkpoint. Exits with 1 when the loss is not
finite, with 2 when the config or the data cannot be used.
"""

import sys
from typing import Any

from cfi_jax.core import cli, storage
from cfi_jax.engine.cluster.flags import FLAGS as PROCESSES

FLAGS = {
  "config": cli.NEEDED_CONFIG,
  "workdir": cli.Flag("folder of the run: checkpoints, logs, pictures", required=True),
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

  system, config = systems.configure(given["config"])
  compilation.use_cache()
  try:
    loop.train(system, config, storage.path(given["workdir"]))
  except DivergedError as error:  # in every process, as all have the same loss
    if jax.process_index() == 0:
      print(f"stopped: the loss is not finite at {error}; last checkpoint kept", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
