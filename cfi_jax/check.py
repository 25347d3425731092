"""Checks a data root before training.

python -m cfi_jax.check --config=configs/msrs.py --config.data.root=PATH

Decodes every file of every split and lists all that is wrong. Exits with 0 if nothing is, 1 if
something is, 2 if the config or the root cannot be used at all.
"""

from cfi_jax import datasets
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.datasets import inspect
from cfi_jax.systems.isfuse.config import Config


def main(argv: list[str]) -> int:
  """Checks the data that the flags name and prints the report."""
  given = cli.flag_values(argv, ("config",), required=("config",))
  config = config_lib.build(Config, given["config"].to_dict())
  report = inspect.check(datasets.load(config.data), config.input.crop)
  print(inspect.describe(report))
  return 1 if report.problems else 0


if __name__ == "__main__":
  cli.define_flag()
  cli.run(main)
