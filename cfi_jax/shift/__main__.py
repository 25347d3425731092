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

_NAMES = ("config", "workdir")


def main(argv: list[str]) -> int:
  """Runs the study that the flags describe."""
  given = config_lib.flag_values(argv, _NAMES, required=_NAMES)
  study = config_lib.build(Study, given["config"].to_dict())
  try:
    done = shift.run(study, pathlib.Path(given["workdir"]))
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
