"""Turns a checkpoint into a weights file (.safetensors).

python -m cfi_jax.convert --checkpoint=isfuse_best.pth --output=isfuse.safetensors
python -m cfi_jax.convert --checkpoint=runs/msrs --output=msrs.safetensors

The authors' PyTorch file is read without PyTorch. Of a workdir the best checkpoint is taken (by
the validation value that its config names), the last where none was validated; name another one by
its folder, runs/msrs/checkpoints/STEP. The workdir is left as it is: its run may still be going on.
"""

import dataclasses
import json
import pathlib

import jax
from absl import flags

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.systems import files

_FLAGS = {
  "checkpoint": "the authors' .pth file, a workdir, or WORKDIR/checkpoints/STEP",
  "output": "the weights file to write, NAME.safetensors",
  "licence": "of the weights, written into the file (default: what is known of the checkpoint)",
}


def main(argv: list[str]) -> int:
  """Converts what the flags name."""
  given = cli.flag_values(argv, _FLAGS, required=("checkpoint", "output"))
  if pathlib.Path(given["output"]).suffix != ".safetensors":
    raise InputError(f"--output={given['output']}; its name must end in .safetensors")
  variables, card = files.read(given["checkpoint"])
  if given["licence"]:
    card = dataclasses.replace(card, licence=given["licence"])
  files.save(given["output"], variables, card)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  print(f"written to {given['output']}: {count} parameters, {json.dumps(card.architecture)}")
  return 0


if __name__ == "__main__":
  for flag, text in _FLAGS.items():
    flags.DEFINE_string(flag, None, text)
  cli.run(main)
