"""Draws the picture of docs/dfcnet.md: transfers between new people, a row of each.

Columns: target, source, skeleton warp without a network, what the weights make, truth.

python docs/transfer_picture.py --output=docs/figures.png
python docs/transfer_picture.py --characters=PATH --weights=FILE --rows=6 --scale=1

PATH: the --data_dir of `python -m cfi_jax.prepare --dataset=characters`.
"""

import argparse

import jax.numpy as jnp
import numpy as np

from cfi_jax import datasets
from cfi_jax.images import ops
from cfi_jax.images.write import write_image
from cfi_jax.systems import files
from cfi_jax.systems.dfcnet import recipes, trials
from cfi_jax.weights import shipped


def main() -> None:
  """Transfers the first records of a split and writes the picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--weights", default=shipped.DEFAULT_TRANSFER, help="a name or a file")
  parser.add_argument("--characters", default="", help="folder of characters, in place of figures")
  parser.add_argument("--output", default="docs/figures.png")
  parser.add_argument("--split", default="test", choices=trials.HELD_OUT)
  parser.add_argument("--rows", type=int, default=10)
  parser.add_argument("--scale", type=int, default=2, help="pixels of the picture per pixel")
  options = parser.parse_args()
  transferring = files.load_transferrer(options.weights)
  data = recipes.small().data.to_dict()
  if options.characters:
    data = recipes.characters().data.to_dict() | {"root": options.characters}
  dataset = datasets.load(data)
  trials.require_side(transferring, dataset, options.weights, "data")
  source = dataset.source(options.split)
  _, samples = next(trials.batches(source))
  warped = trials.baseline("skeleton warp", lambda: source.album("train"))(samples)
  columns = (samples.target, samples.source, warped, transferring.draw(samples), samples.truth)
  rows = np.asarray(ops.to_uint8(jnp.concatenate(columns, axis=-2)))[: options.rows]
  picture = rows.reshape(-1, *rows.shape[2:]).repeat(options.scale, 0).repeat(options.scale, 1)
  write_image(options.output, picture)


if __name__ == "__main__":
  main()
