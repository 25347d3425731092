"""Looks at what a fusion model does with its images: python -m cfi_jax.analyze.

python -m cfi_jax.analyze --weights=FILE_OR_NAME [--compare=FILE_OR_NAME ...] --output=DIR \
  (--visible=DIR --infrared=DIR [--labels=DIR] | --synthetic [--config=FILE]) \
  [--pairs=N] [--parts=effects,gates,contribution,features] [--seed=N]

Writes findings.csv, summary.md, report.html and plots/. Exits with 2 when the input cannot be used.
"""

import pathlib
from typing import Any

from absl import flags

from cfi_jax import datasets
from cfi_jax.analyze import Request, analyze
from cfi_jax.analyze.inputs import WORLD
from cfi_jax.analyze.parts import PARTS
from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import cut
from cfi_jax.datasets.synthetic import Synthetic

_FLAGS = {
  "weights": (flags.DEFINE_string, None, "weights (file or name) to analyse"),
  "compare": (flags.DEFINE_multi_string, [], "weights (file or name) beside it; may be repeated"),
  "visible": (flags.DEFINE_string, None, "folder of visible images"),
  "infrared": (flags.DEFINE_string, None, "folder of infrared images"),
  "labels": (
    flags.DEFINE_string,
    None,
    "folder of label images of the same names: grey or index is class",
  ),
  "synthetic": (flags.DEFINE_bool, False, "analyse test scenes of the embedded world instead"),
  "output": (flags.DEFINE_string, None, "folder for the tables, the plots and the page"),
  "pairs": (flags.DEFINE_integer, Request.pairs, "at most so many pairs; 0: all"),
  "parts": (flags.DEFINE_list, list(PARTS), "what to analyse, with commas"),
  "seed": (flags.DEFINE_integer, 0, "of masks, places, permutations and resamples"),
}


def main(argv: list[str]) -> int:
  """Analyses what the flags name."""
  given = cli.flag_values(argv, _FLAGS, required=("weights", "output"))
  folders = [name for name in ("visible", "infrared", "labels") if given[name]]
  if given["synthetic"] and folders:
    raise InputError(f"--{folders[0]} and --synthetic are both given; allowed: one of them")
  if not given["synthetic"] and not (given["visible"] and given["infrared"]):
    raise InputError("give --visible=DIR and --infrared=DIR, or --synthetic")
  request = Request(
    weights=pathlib.Path(given["weights"]),
    compare=tuple(map(pathlib.Path, given["compare"])),
    world=_world(given["synthetic"]),
    pairs=given["pairs"],
    parts=tuple(given["parts"]),
    seed=given["seed"],
    **{name: pathlib.Path(given[name]) for name in folders},
  )
  output = pathlib.Path(given["output"])
  result = analyze(request, output)
  for note in result.notes:
    print(f"note: {cut(note)}")
  print(f"{len(result.findings)} findings: {output}")
  return 0


def _world(synthetic: bool) -> Synthetic | None:
  """The world of `--config`, without one that of configs/synthetic.py."""
  config: Any = flags.FLAGS["config"].value
  if not synthetic:
    if config is not None:
      raise InputError("--config gives the world of --synthetic, which is missing")
    return None
  if config is not None and "data" not in config:
    raise InputError(f"--config: it has no data, only {', '.join(sorted(config))}")
  world = WORLD if config is None else datasets.load(config.to_dict()["data"])
  if not isinstance(world, Synthetic):
    raise InputError(f"--config: its data is {config.data.name!r}; --synthetic needs 'synthetic'")
  return world


if __name__ == "__main__":
  for flag, (define, default, text) in _FLAGS.items():
    define(flag, default, text)
  cli.define_flag()
  cli.run(main)
