"""Damage inside image files that decode: what their formats and a strict decoder can tell of it."""

import importlib.util
from typing import BinaryIO

from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images.read import FORMATS

STRICT = "simplejpeg"  # a decoder that makes errors of libjpeg's warnings, which Pillow drops
EXTRA = "the extra strict"


def format_without_checksum(file: BinaryIO) -> str:
  """Name of the format of a picture that decodes, where damaged pixels would decode, too; or "".

  PNG and TIFF's deflate keep checksums of their pixels, the other formats and compressions none.
  """
  file.seek(0)
  picture = Image.open(file, formats=FORMATS)
  checked = picture.format == "PNG" or "deflate" in str(picture.info.get("compression"))
  name = "JPEG" if picture.format == "MPO" else str(picture.format)
  return "" if checked else name


def is_strict() -> bool:
  """Whether the strict decoder of JPEG is installed."""
  return importlib.util.find_spec(STRICT) is not None


def require_strict_jpeg(file: BinaryIO, label: str) -> None:
  """Raises InputError, which `label` begins, for a JPEG that decodes with warnings.

  These are bytes that no code fits, and scans that end early or late.
  """
  decoder = importlib.import_module(STRICT)
  file.seek(0)
  content = file.read()
  try:
    *_, colours, _ = decoder.decode_jpeg_header(content)
    kept = "CMYK" if colours in ("CMYK", "YCCK") else "GRAY"
    decoder.decode_jpeg(content, colorspace=kept, strict=True)
  except ValueError as error:
    raise InputError(f"{label}: damaged inside, by a strict decoder ({error})") from error
