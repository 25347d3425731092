"""Measures speed and memory.

  python -m cfi_jax.benchmark train --config=configs/msrs.py --output=FILE.json
  python -m cfi_jax.benchmark fuse --help

Each part prints a table and writes it, with every figure, to FILE.json and FILE.txt. `gpu` measures
everything that needs a GPU; `compile` asks the compilers of chips that need not be there. Exits
with 1 when a contender failed or two do not compute the same, with 2 for unusable input.
"""

import importlib
import os
import pathlib
import shlex
import sys
import types
from collections.abc import Sequence
from typing import Any

from cfi_jax.benchmark.flags import PARTS
from cfi_jax.core import cli
from cfi_jax.core.types import InputError


def main(arguments: Sequence[str]) -> int:
  """Runs one part; returns the exit status."""
  files = {name: pathlib.Path(__file__).with_name(f"{name}.py") for name in PARTS}
  try:
    part = cli.choose(files, __doc__, arguments)
  except InputError as error:
    return cli.refuse(error)
  if part is None:
    return 0

  def run(given: dict[str, Any]) -> int:
    return measure(part, options(given, arguments))

  return cli.status(run, PARTS[part], cli.docstring(files[part]), arguments[1:])


def options(given: dict[str, Any], arguments: Sequence[str]) -> types.SimpleNamespace:
  """The values of the flags as attributes, and the `command` that reports show."""
  if given.get("turns", 1) < 1:
    raise InputError(f"--turns={given['turns']}; allowed: 1 or more")
  command = shlex.join(["python", "-m", "cfi_jax.benchmark", *arguments])
  return types.SimpleNamespace(**given, command=command)


def measure(part: str, chosen: types.SimpleNamespace) -> int:
  """Runs the part, with --output checked before; the contenders share a GPU with this process."""
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  from cfi_jax.benchmark.harness import compare, results  # imported here, as help needs no JAX

  if part != "gpu":
    results.output_path(chosen)
  try:
    return importlib.import_module(f"cfi_jax.benchmark.{part}").run(chosen)
  except compare.UnequalError as error:
    print(f"stopped: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
