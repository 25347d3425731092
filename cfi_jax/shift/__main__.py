"""Runs a study of distribution shift: python -m cfi_jax.shift.

python -m cfi_jax.shift --config=configs/shift.py --workdir=runs/shift

Writes findings.csv, summary.md and plots into the workdir after every seed, and goes on where it
was stopped. Exits with 2 when the input cannot be used, with 1 when a training diverges.
"""

import pathlib
import sys

from absl import flags

from cfi_jax import config as config_lib
from cfi_jax import shift
from cfi_jax.logs import DivergedError
from cfi_jax.shift.study import Study
from cfi_jax.types import InputError


def main(argv: list[str]) -> int:
  """Runs the study that the flags describe."""
  if len(argv) > 1:
    raise InputError(f"unexpected argument {argv[1]!r}; values are given as --flag=value")
  for name in ("config", "workdir"):
    if not flags.FLAGS[name].value:
      raise InputError(f"--{name} is missing; it is required")
  study = config_lib.build(Study, flags.FLAGS.config.to_dict())
  try:
    done = shift.run(study, pathlib.Path(flags.FLAGS.workdir))
  except DivergedError as error:
    print(f"stopped: the loss is not finite at {error}; the study is kept", file=sys.stderr)
    return 1
  if not done:
    print("stopped; the same command goes on from there")
  return 0


if __name__ == "__main__":
  config_lib.define_flag()
  flags.DEFINE_string("workdir", None, "folder of the study: runs, findings, summary, plots")
  config_lib.run(main)
