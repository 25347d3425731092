"""Writes a folder of pairs as TFDS ArrayRecord files, without TensorFlow.

python -m cfi_jax.prepare --dataset=msrs --root=PATH --data_dir=PATH
"""

from absl import flags

from cfi_jax.core import cli
from cfi_jax.datasets import tfds_builders

_FLAGS = {
  "dataset": f"one of {', '.join(tfds_builders.BUILDERS)}",
  "root": "folder of the dataset in its original layout",
  "data_dir": "where TFDS datasets are kept",
}


def main(argv: list[str]) -> int:
  """Writes the dataset that the flags name."""
  values = cli.flag_values(argv, _FLAGS, required=_FLAGS)
  folder = tfds_builders.prepare(values["dataset"], values["root"], values["data_dir"])
  print(f"written to {folder}")
  return 0


if __name__ == "__main__":
  for name, text in _FLAGS.items():
    flags.DEFINE_string(name, None, text)
  cli.run(main)
