"""Multi-modal image fusion: the commands of cfi_jax.

  cfi-jax fuse --visible=PATH --infrared=PATH --output=PATH
  cfi-jax fuse --help

`cfi-jax fuse` is `python -m cfi_jax.fuse`; `cfi-jax --version` prints the version.
"""

import pathlib
import runpy
import sys

from cfi_jax.core import cli
from cfi_jax.core.types import InputError

COMMANDS = {
  "train": "main.py",
  "fuse": "fuse/__main__.py",
  "align": "align/__main__.py",
  "check": "check.py",
  "convert": "convert.py",
  "export": "export/__main__.py",
  "prepare": "prepare.py",
  "evaluate": "evaluate/__main__.py",
  "analyze": "analyze/__main__.py",
  "benchmark": "benchmark/__main__.py",
  "study": "study/__main__.py",
  "downstream": "downstream/__main__.py",
  "weather": "weather/__main__.py",
  "transfer": "transfer/__main__.py",
  "keypoints": "keypoints/__main__.py",
}


def main() -> None:
  """Runs the command that the first argument names, and exits with its status."""
  arguments = sys.argv[1:]
  folder = pathlib.Path(__file__).parent
  try:
    name = cli.choose({n: folder / f for n, f in COMMANDS.items()}, __doc__, arguments)
  except InputError as error:
    sys.exit(cli.refuse(error))
  if name is not None:
    module = COMMANDS[name].removesuffix("/__main__.py").removesuffix(".py")
    sys.argv = [f"cfi-jax {name}", *arguments[1:]]
    runpy.run_module(f"cfi_jax.{module}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
