"""Images of four channels, RGB and thermal, as the two images that they are."""

import dataclasses
import io
from typing import BinaryIO

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore
from cfi_jax.images import read as images
from cfi_jax.images.write import encode_png

CHANNELS = {"visible": slice(0, 3), "infrared": slice(3, 4)}


def part(path: str, name: str) -> str:
  """The path by which `PackedStore` opens one image of a file."""
  return f"{path}#{name}"


@dataclasses.dataclass(frozen=True)
class PackedStore(FolderStore):
  """A folder whose paths FILE#visible and FILE#infrared are parts of a file of four channels."""

  def open(self, path: str) -> BinaryIO:
    """Opens a file, or a part of one as a PNG that is not compressed; InputError names the file."""
    file, mark, name = path.rpartition("#")
    if not mark or name not in CHANNELS:
      return super().open(path)
    with super().open(file) as stream:
      image = images.decode(stream, self.label(file))
    if image.shape[-1] != 4 or image.dtype not in (np.uint8, np.uint16):
      raise InputError(
        f"{self.label(file)} has {image.shape[-1]} channels of {image.dtype}; allowed in this "
        "layout: 4 of 8 or 16 bits, red, green, blue and thermal"
      )
    return io.BytesIO(encode_png(image[..., CHANNELS[name]], level=0))

  def peek(self, path: str) -> BinaryIO:
    """Opens a file, or a part of one, of which little will be read; as `open` does."""
    return self.open(path)
