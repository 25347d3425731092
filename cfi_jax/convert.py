"""Turns a checkpoint into a weights file (.safetensors).

  python -m cfi_jax.convert --checkpoint=isfuse_best.pth --output=isfuse.safetensors
  python -m cfi_jax.convert --checkpoint=runs/msrs --output=msrs.safetensors

The authors' PyTorch file is read without PyTorch. Of a workdir the best checkpoint is taken (by
the validation value that its config names), the last where none was validated; name another one by
its folder, runs/msrs/checkpoints/STEP. The workdir is left as it is: its run may still be going on.
A weights file is taken, too, to change what the other flags say.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax

from cfi_jax.core import cli, storage
from cfi_jax.core.files import require_folder
from cfi_jax.core.types import InputError
from cfi_jax.systems import files
from cfi_jax.systems.isfuse import trust

FLAGS = {
  "checkpoint": cli.Flag(
    "the authors' .pth file, a workdir, WORKDIR/checkpoints/STEP, or a weights file", required=True
  ),
  "output": cli.Flag("the weights file to write, NAME.safetensors", required=True),
  "licence": cli.Flag("licence of the weights, written into the file; by default what is known"),
  "more_trust": cli.Flag(
    "added to the logits of the trust in pixels that ISFuse with a prior tells, as holes are rarer "
    "in pictures than in training",
    0.0,
  ),
}


def main(given: Mapping[str, Any]) -> int:
  """Converts what the flags name."""
  if storage.path(given["output"]).suffix != ".safetensors":
    raise InputError(f"--output={given['output']}; its name must end in .safetensors")
  require_folder(storage.path(given["output"]).parent)
  variables, card = files.read(given["checkpoint"])
  if given["licence"]:
    card = dataclasses.replace(card, licence=given["licence"])
  if given["more_trust"]:
    try:
      variables, card = trust.raised(variables, card, given["more_trust"])
    except InputError as error:
      raise InputError(f"--more_trust: {given['checkpoint']}: {error}") from error
  files.save(given["output"], variables, card)
  print(f"made by {card.recipe}")
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  print(f"written to {given['output']}: {count} parameters, {json.dumps(card.architecture)}")
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
