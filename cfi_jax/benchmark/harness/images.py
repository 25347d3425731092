"""Images to measure with: arrays, and folders of files."""

import pathlib

import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import MODALITIES


def parse_size(text: str) -> tuple[int, int]:
  """(height, width) of "480x640"."""
  height, cross, width = text.partition("x")
  if not (cross and height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 8):
    raise InputError(f"size {text!r}: expected HEIGHTxWIDTH, each 8 or more, as 480x640")
  return int(height), int(width)


def make_images(batch: int, height: int, width: int) -> dict[str, np.ndarray]:
  """A visible and an infrared batch [B, H, W] with edges and noise, float32 in [0, 1]."""
  random = np.random.default_rng(0)
  rows, columns = np.mgrid[:height, :width]
  blocks = ((rows // 32 + columns // 48) % 2).astype(np.float32)
  noise = random.random((len(MODALITIES), batch, height, width), np.float32)
  visible, infrared = 0.6 * blocks + 0.4 * noise[0], 0.5 - 0.3 * blocks + 0.4 * noise[1]
  return {"visible": visible, "infrared": infrared}


def write_pairs(root: pathlib.Path, pairs: int, height: int, width: int) -> None:
  """Grey PNG pairs in the layout of the data set `folder`; each a shift of one noisy picture."""
  images = {m: (255 * i[0]).astype(np.uint8) for m, i in make_images(1, height, width).items()}
  for modality, image in images.items():
    (root / modality).mkdir(parents=True)
    for i in range(pairs):
      shifted = Image.fromarray(np.roll(image, 7 * i, axis=1))
      shifted.save(root / modality / f"{i:05d}.png", compress_level=1)
