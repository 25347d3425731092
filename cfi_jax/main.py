"""Trains a fusion model: python -m cfi_jax.main --config=configs/msrs.py --workdir=runs/msrs."""

import pathlib
import sys

import jax
from absl import flags

from cfi_jax import config as config_lib
from cfi_jax import train
from cfi_jax.logs import DivergedError
from cfi_jax.types import InputError

_CONFIG = config_lib.define_flag()
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run: checkpoints, logs, pictures")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for several")
_PROCESSES = flags.DEFINE_integer("processes", None, "number of processes, with --coordinator")
_PROCESS = flags.DEFINE_integer("process", None, "index of this process, with --coordinator")


def main(argv: list[str]) -> int:
  """Runs the training that the flags describe."""
  if len(argv) > 1:
    raise InputError(f"unexpected argument {argv[1]!r}; values are given as --flag=value")
  for flag in (_CONFIG, _WORKDIR):
    if not flag.value:
      raise InputError(f"--{flag.name} is missing; it is required")
  several = (_COORDINATOR, _PROCESSES, _PROCESS)
  given = [flag.name for flag in several if flag.value is not None]
  if given and len(given) < len(several):
    missing = ", ".join(f"--{flag.name}" for flag in several if flag.value is None)
    raise InputError(f"--{given[0]} is given without {missing}; several processes need all three")
  if given:
    jax.distributed.initialize(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  config = config_lib.build(config_lib.Config, _CONFIG.value.to_dict())
  try:
    train.train(config, pathlib.Path(_WORKDIR.value))
  except DivergedError as error:
    print(f"stopped: the loss is not finite at {error}; last checkpoint kept", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  config_lib.run(main)
