"""Single pictures and folders of them, as commands on pictures of people read them."""

import os
import pathlib

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.source import rgb
from cfi_jax.images import read as images


def pictures_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """The pictures of a folder in the order of their names.

  Raises InputError without any, and for two that differ in their extension alone.
  """
  if not folder.is_dir():
    what = "is a file; allowed: a folder" if folder.exists() else "does not exist"
    raise InputError(f"{folder}: {what}")
  found = sorted(path for path in folder.iterdir() if path.suffix.lower() in images.EXTENSIONS)
  if not found:
    raise InputError(f"{folder}: holds no pictures; read are {', '.join(images.EXTENSIONS)}")
  names = [path.stem for path in found]
  if twice := sorted({name for name in names if names.count(name) > 1}):
    raise InputError(f"{folder}: several pictures are called {twice[0]!r} but for their extension")
  return found


def read_rgb(path: str | os.PathLike, max_pixels: int) -> np.ndarray:
  """A picture as uint8 RGB [H, W, 3]; 16 bits are divided by 257 and rounded."""
  picture = rgb(images.read_image(path, max_pixels))
  if picture.dtype == np.uint16:
    return np.round(picture / 257).astype(np.uint8)
  if picture.dtype != np.uint8:
    raise InputError(f"{path}: holds {picture.dtype}; allowed: 8 or 16 bits")
  return picture
