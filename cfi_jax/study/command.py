"""The command line of studies: many runs in one workdir."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.engine.workdir.logs import DivergedError


def command(kind: type, run: Callable[[Any, pathlib.Path], bool], workdir: str) -> None:
  """Runs a study as a command with --config and --workdir, and exits.

  kind: the dataclass of a study. run: f(study, workdir) -> whether all is done; not, after SIGTERM.
  workdir: what it will hold, for the flag's help.
  """

  def main(given: dict[str, Any]) -> int:
    study = config_lib.build(kind, given["config"])
    try:
      done = run(study, pathlib.Path(given["workdir"]))
    except DivergedError as error:
      print(f"stopped: the loss is not finite at {error}; the study is kept", file=sys.stderr)
      return 1
    if not done:
      print("stopped; the same command goes on from there")
    return 0

  flags = {"config": cli.NEEDED_CONFIG, "workdir": cli.Flag(workdir, required=True)}
  cli.run(main, flags, sys.modules["__main__"].__doc__)
