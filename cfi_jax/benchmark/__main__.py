"""Measures speed and memory: python -m cfi_jax.benchmark PART [--output=FILE.json].

Parts: train, fuse, metrics, input; gpu, which measures everything that needs a GPU; and scaling,
which predicts. Each prints a table and writes it, with every figure, to FILE.json and FILE.txt;
PART --help lists its flags.
Exits with 1 when a contender failed or two do not compute the same, with 2 for unusable input.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from cfi_jax.benchmark import fuse, gpu, input, metrics, scaling, train
from cfi_jax.benchmark.harness import results, roofline
from cfi_jax.benchmark.harness.compare import UnequalError
from cfi_jax.core import cli
from cfi_jax.core.types import InputError

PARTS = {
  "train": train,
  "fuse": fuse,
  "metrics": metrics,
  "input": input,
  "gpu": gpu,
  "scaling": scaling,
}
WITH_CONFIG = ("train", "input", "scaling")  # they take --config=FILE and --config.a.b=value


def main(arguments: Sequence[str]) -> int:
  """Runs one part; returns the exit status."""
  options, rest = _parser().parse_known_args(arguments)
  options.config = rest
  options.command = shlex.join(["python", "-m", "cfi_jax.benchmark", *arguments])
  # The contenders need the memory of a GPU that this process only measures.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  try:
    if options.turns < 1:
      raise InputError(f"--turns={options.turns}; allowed: 1 or more")
    if rest and options.part not in WITH_CONFIG:
      raise InputError(f"unexpected argument {rest[0]!r}; see {options.part} --help")
    if options.part != "gpu":
      results.output_path(options)  # refused before anything is measured
    return PARTS[options.part].run(options)
  except InputError as error:
    return cli.refuse(error)
  except UnequalError as error:
    print(f"stopped: {error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    "python -m cfi_jax.benchmark",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parts = parser.add_subparsers(dest="part", required=True)
  for name, part in PARTS.items():
    own = parts.add_parser(
      name,
      description=part.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    own.add_argument("--turns", type=int, default=15, help="measurements of each contender")
    own.add_argument("--output", help="FILE.json (gpu: a folder)")
    roofline.add_arguments(own)
    part.add_arguments(own)
  return parser


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
