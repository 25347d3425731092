"""Checks a data root before training.

  python -m cfi_jax.check --config=configs/msrs.py --config.data.root=PATH

Decodes every file of every split and lists all that is wrong, and what it cannot see. Exits with 0
if nothing is, 1 if something is, 2 if the config or the root cannot be used at all.
"""

from typing import Any

from cfi_jax.core import cli, storage

FLAGS = {"config": cli.NEEDED_CONFIG}


def main(given: dict[str, Any]) -> int:
  """Checks the data that the flags name and prints the report."""
  from cfi_jax import datasets, systems  # imported here, as help needs no JAX
  from cfi_jax.datasets import inspect

  _, config = systems.configure(given["config"])
  options = config.input
  storage.keep_to(options.cache_gb)
  report = inspect.check(
    datasets.load(config.data), options.crop, options.normalize, options.normalize_over
  )
  print(inspect.describe(report))
  return 1 if report.problems else 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
