"""Draws the README's picture: synthetic pairs, one per row, as visible | infrared | fused.

python docs/fuse_picture.py --output=docs/fuse.png
"""

import argparse
import pathlib
import runpy

import numpy as np

import cfi_jax
from cfi_jax import datasets
from cfi_jax.images.write import write_image
from cfi_jax.weights import shipped

CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "synthetic.py"


def main() -> None:
  """Fuses some test scenes and writes the picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--weights", default=shipped.DEFAULT, help="a name or a file")
  parser.add_argument("--output", default="docs/fuse.png")
  parser.add_argument("--size", type=int, default=192, help="side of a scene in pixels")
  # Day, night, smoke, haze by night.
  parser.add_argument("--scenes", type=int, nargs="+", default=[3, 0, 8, 10], help="of the test")
  options = parser.parse_args()
  values = runpy.run_path(str(CONFIG))["get_config"]().data.to_dict() | {"size": options.size}
  scenes = datasets.load(values).source("test")
  model = cfi_jax.load(options.weights)
  rows = []
  for index in options.scenes:
    visible, infrared = (scenes[index][name] for name in ("visible", "infrared"))
    fused = model.fuse(visible, infrared)
    rows.append(np.concatenate([visible, infrared, fused], axis=1))
  write_image(options.output, np.concatenate(rows))


if __name__ == "__main__":
  main()
