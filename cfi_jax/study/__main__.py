"""Trains the rows of a study from several seeds and tabulates them.

  python -m cfi_jax.study --config=configs/results.py --workdir=runs/results \\
      --config.roots.roadscene=PATH --config.roots.tno=PATH --config.roots.msrs=PATH
  python -m cfi_jax.study --config=configs/shift.py --workdir=runs/shift

config.study says what is measured: results, the scores on test pairs; shift, what is left of them
in other worlds; ablations, the scores of held-out samples without a part; downstream, what a
network perceives in one image, both, and fused ones; dissect, what networks of one image and of
both make of them. Three train nothing: weather, the scores on test pairs under rain, haze and snow;
transfers, those of pose transfer beside trivial ones; options, which of a rule's are best on
held-out training pairs. Goes on where it was stopped. Exits with 2 when the input cannot be used,
with 1 when a training diverges.
"""

import importlib
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from cfi_jax.core import cli, config, storage
from cfi_jax.core.types import InputError

STUDIES = (  # folders beside this file
  "results", "shift", "weather", "ablations", "transfers", "options", "downstream", "dissect",
)  # fmt: skip
FLAGS = {
  "config": cli.NEEDED_CONFIG,
  "workdir": cli.Flag("folder of the study: runs, what is measured, tables", required=True),
}


def run(values: Mapping[str, Any], workdir: pathlib.Path) -> bool:
  """Runs the study of a config; returns whether all is done, which it is not after SIGTERM.

  A config without the field `study` is told by its recipes, which only a study of shift has.
  """
  values = dict(values)
  name = values.pop("study", "shift" if "recipes" in values else "results")
  if name not in STUDIES:
    raise InputError(f"config.study is {name!r}; valid: {', '.join(STUDIES)}")
  study = importlib.import_module(f"cfi_jax.study.{name}")
  return study.run(config.build(study.Study, values), workdir)


def main(given: dict[str, Any]) -> int:
  """Runs the study that the flags name."""
  from cfi_jax.engine import compilation  # imported here, as help needs no JAX
  from cfi_jax.engine.workdir.logs import DivergedError

  compilation.use_cache()
  try:
    done = run(given["config"], storage.path(given["workdir"]))
  except DivergedError as error:
    print(f"stopped: the loss is not finite at {error}; the study is kept", file=sys.stderr)
    return 1
  if not done:
    print("stopped; the same command goes on from there")
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
