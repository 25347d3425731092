"""Looks at what a fusion model does with its images.

  python -m cfi_jax.analyze --weights=medical --visible=DIR --infrared=DIR --output=DIR
  python -m cfi_jax.analyze --weights=FILE --compare=medical --synthetic --output=DIR

Writes findings.csv, summary.md, report.html and plots/. Exits with 2 when the input cannot be used.
"""

from typing import Any

from cfi_jax import datasets
from cfi_jax.analyze import Request, analyze
from cfi_jax.analyze.inputs import WORLD
from cfi_jax.analyze.parts import PARTS
from cfi_jax.core import cli, storage
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import cut
from cfi_jax.datasets.synthetic import Synthetic

FLAGS = {
  "weights": cli.Flag("weights (file or name) to analyse", required=True),
  "compare": cli.Flag("weights (file or name) beside it; may be repeated", kind=tuple),
  "visible": cli.Flag("folder of visible images"),
  "infrared": cli.Flag("folder of infrared images"),
  "labels": cli.Flag("folder of label images of the same names: grey or index is class"),
  "synthetic": cli.Flag("analyse test scenes of the embedded world instead", False),
  "output": cli.Flag("folder for the tables, the plots and the page", required=True),
  "pairs": cli.Flag("at most so many pairs; 0: all", Request.pairs),
  "parts": cli.Flag("what to analyse, with commas", list(PARTS)),
  "seed": cli.Flag("of masks, places, permutations and resamples", Request.seed),
  "config": cli.CONFIG,
}


def main(given: dict[str, Any]) -> int:
  """Analyses what the flags name."""
  folders = [name for name in ("visible", "infrared", "labels") if given[name]]
  if given["synthetic"] and folders:
    raise InputError(f"--{folders[0]} and --synthetic are both given; allowed: one of them")
  if not given["synthetic"] and not (given["visible"] and given["infrared"]):
    raise InputError("give --visible=DIR and --infrared=DIR, or --synthetic")
  request = Request(
    weights=storage.path(given["weights"]),
    compare=tuple(map(storage.path, given["compare"] or ())),
    world=_world(given["synthetic"], given["config"]),
    pairs=given["pairs"],
    parts=tuple(given["parts"]),
    seed=given["seed"],
    **{name: storage.path(given[name]) for name in folders},
  )
  output = storage.path(given["output"])
  result = analyze(request, output)
  for note in result.notes:
    print(f"note: {cut(note)}")
  print(f"{len(result.findings)} findings: {output}")
  return 0


def _world(synthetic: bool, config: dict[str, Any] | None) -> Synthetic | None:
  """The world of `--config`, without one that of configs/synthetic.py."""
  if not synthetic:
    if config is not None:
      raise InputError("--config gives the world of --synthetic, which is missing")
    return None
  if config is not None and "data" not in config:
    raise InputError(f"--config: it has no data, only {', '.join(sorted(config))}")
  world = WORLD if config is None else datasets.load(config["data"])
  if not isinstance(world, Synthetic):
    name = config["data"]["name"]
    raise InputError(f"--config: its data is {name!r}; --synthetic needs 'synthetic'")
  return world


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
