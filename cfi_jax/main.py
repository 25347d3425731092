"""Trains a fusion model: python -m cfi_jax.main --config=configs/msrs.py --workdir=runs/msrs."""

import pathlib
import sys

import jax
from absl import flags

from cfi_jax import systems
from cfi_jax.core import cli
from cfi_jax.engine import compilation, loop
from cfi_jax.engine.cluster import processes
from cfi_jax.engine.workdir.logs import DivergedError

_CONFIG = cli.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, logs, pictures")
_AGAIN = "the same command goes on from the last checkpoint"
processes.define_flags()


def main(argv: list[str]) -> int:
  """Runs the training that the flags describe."""
  names = (_CONFIG.name, _WORKDIR.name)
  cli.flag_values(argv, names, required=names)
  return processes.run(processes.from_flags(), _train, _AGAIN)


def _train() -> int:
  system, config = systems.configure(_CONFIG.value.to_dict())
  compilation.use_cache()
  try:
    loop.train(system, config, pathlib.Path(_WORKDIR.value))
  except DivergedError as error:  # in every process, as all have the same loss
    if jax.process_index() == 0:
      print(f"stopped: the loss is not finite at {error}; last checkpoint kept", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  cli.run(main)
