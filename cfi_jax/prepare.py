"""Writes a folder of pairs as TFDS ArrayRecord files, without TensorFlow.

  python -m cfi_jax.prepare --dataset=msrs --root=PATH --data_dir=PATH

Files written before are kept if they hold the same images.
"""

import pathlib
from typing import Any

from cfi_jax.core import cli
from cfi_jax.core.files import require_folder
from cfi_jax.datasets import tfds_builders

FLAGS = {
  "dataset": cli.Flag(f"one of {', '.join(tfds_builders.BUILDERS)}", required=True),
  "root": cli.Flag("folder of the dataset in its original layout", required=True),
  "data_dir": cli.Flag("where TFDS datasets are kept", required=True),
}


def main(given: dict[str, Any]) -> int:
  """Writes the dataset that the flags name."""
  require_folder(pathlib.Path(given["data_dir"]))
  folder = tfds_builders.prepare(given["dataset"], given["root"], given["data_dir"])
  print(f"written to {folder}")
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
