"""Images of four channels, RGB and thermal, as the two images that they are."""

import dataclasses
import io
from typing import BinaryIO

from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore
from cfi_jax.images import read as images

CHANNELS = {"visible": slice(0, 3), "infrared": slice(3, 4)}


def part(path: str, name: str) -> str:
  """The path by which `PackedStore` opens one image of a file."""
  return f"{path}#{name}"


@dataclasses.dataclass(frozen=True)
class PackedStore(FolderStore):
  """A folder whose paths FILE#visible and FILE#infrared are parts of a file of four channels."""

  def open(self, path: str) -> BinaryIO:
    """Opens a file, or a part of one as an uncompressed bitmap; InputError names the file."""
    file, mark, name = path.rpartition("#")
    if not mark or name not in CHANNELS:
      return super().open(path)
    with super().open(file) as stream:
      image = images.decode(stream, self.label(file))
    if image.shape[-1] != 4:
      raise InputError(
        f"{self.label(file)} has {image.shape[-1]} channels; allowed in this layout: 4, red, "
        "green, blue and thermal"
      )
    channels = image[..., CHANNELS[name]]
    stream = io.BytesIO()
    Image.fromarray(channels[..., 0] if channels.shape[-1] == 1 else channels).save(stream, "BMP")
    stream.seek(0)
    return stream

  def peek(self, path: str) -> BinaryIO:
    """Opens a file, or a part of one, of which little will be read; as `open` does."""
    return self.open(path)
