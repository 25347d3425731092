"""Trains the rows of a study from several seeds and tabulates what is measured.

  python -m cfi_jax.study --config=configs/results.py --workdir=runs/results \\
      --config.roots.roadscene=PATH --config.roots.tno=PATH
  python -m cfi_jax.study --config=configs/shift.py --workdir=runs/shift

Goes on where it was stopped. Exits with 2 when the input cannot be used, with 1 when a training
diverges.
"""

import pathlib
import sys
from typing import Any

from cfi_jax.core import cli

FLAGS = {
  "config": cli.NEEDED_CONFIG,
  "workdir": cli.Flag("folder of the study: runs, what is measured, tables", required=True),
}


def main(given: dict[str, Any]) -> int:
  """Runs the study that the flags name; a config with recipes is one of distribution shift."""
  from cfi_jax.core.config import build
  from cfi_jax.engine.workdir.logs import DivergedError
  from cfi_jax.study import results, shift
  from cfi_jax.study.results.study import Study
  from cfi_jax.study.shift.study import Study as Shift

  kind, run = (Shift, shift.run) if "recipes" in given["config"] else (Study, results.run)
  try:
    done = run(build(kind, given["config"]), pathlib.Path(given["workdir"]))
  except DivergedError as error:
    print(f"stopped: the loss is not finite at {error}; the study is kept", file=sys.stderr)
    return 1
  if not done:
    print("stopped; the same command goes on from there")
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
