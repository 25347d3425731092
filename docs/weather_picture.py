"""Draws the picture of docs/amgfuse.md: a synthetic scene under rain, haze and snow, a row of each.

Columns: visible and infrared image as degraded, fused by the weights that know of weather, the same
pair fused by the default weights, the restored visible image, the clean one.

python docs/weather_picture.py --output=docs/weather.png
"""

import argparse
import pathlib
import runpy

import jax
import numpy as np

import cfi_jax
from cfi_jax import datasets
from cfi_jax.fusion import weather
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import WeatherOptions
from cfi_jax.images import ranges
from cfi_jax.images.write import write_image
from cfi_jax.weights import shipped

CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "synthetic.py"


def main() -> None:
  """Degrades, fuses and restores some test scenes and writes the picture."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--weights", default="weather", help="a name or a file; weights that restore")
  parser.add_argument("--default", default=shipped.DEFAULT, help="the weights beside them")
  parser.add_argument("--output", default="docs/weather.png")
  parser.add_argument("--size", type=int, default=192, help="side of a scene in pixels")
  parser.add_argument("--level", default="heavy")
  parser.add_argument("--scenes", type=int, nargs=3, default=[3, 8, 10], help="of the test")
  options = parser.parse_args()
  values = runpy.run_path(str(CONFIG))["get_config"]().data.to_dict() | {"size": options.size}
  scenes = datasets.load(values).source("test")
  model, default = cfi_jax.load(options.weights), cfi_jax.load(options.default)
  rows = []
  for kind, index in zip(("rain", "haze", "snow"), options.scenes, strict=True):
    clean = Pair(*(scenes[index][name] for name in ("visible", "infrared")))
    unit = jax.tree.map(lambda image: image.astype(np.float32) / 255, clean)
    made = WeatherOptions((kind,), (options.level,), ("physical",), clear=0.0)
    seen, _ = weather.on_picture(0, scenes.names[index], unit, made)
    given = jax.tree.map(lambda image: ranges.to_type(255 * image, np.uint8), seen)
    fused, restored, _ = model.fuse_and_restore(given.visible, given.infrared)
    plain = default.fuse(given.visible, given.infrared)
    row = (given.visible, given.infrared, fused, plain, restored, clean.visible)
    rows.append(np.concatenate([image.reshape(*image.shape[:2], -1)[..., :1] for image in row], 1))
  write_image(options.output, np.concatenate(rows))


if __name__ == "__main__":
  main()
