"""Pixel types of TIFF: integers and floating point of any size, missing values, white is zero."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from cfi_jax.core.types import InputError

BITS_PER_SAMPLE = 258
ORIENTATION = 0x0112
SAMPLE_FORMAT = 339  # 1: unsigned, 2: signed, 3: floating point
_PHOTOMETRIC = 262
_NODATA = 42113
_MISSING = -9999.0  # stands for a missing value where signed or floating-point files do not say
_NO_CELSIUS = -273.15  # what cameras' kits write where they have no temperature, zero kelvin
_CLOSE = 0.13  # spacing of float16 there, halved
_ENDLESS = 3.4e38  # what geographic programs write, with or without a tag: an end of float32
_BIG_ENDIAN_BIG = b"MM\0+"
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", _BIG_ENDIAN_BIG)
# Raw modes that pillow (13) gives compressed values of big-endian files, and those of the order in
# which libtiff hands them over, this machine's.
_DECODED = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}


def values(array: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
  """The values of a grey TIFF [H, W] in the type that its tags name; see `read.read_image`.

  array: as pillow gives them, in a type that holds their bits.
  """
  bits, kind = tags.get(BITS_PER_SAMPLE, (8,))[0], tags.get(SAMPLE_FORMAT, (1,))[0]
  if kind == 2:
    array = array.view(np.int8) if bits == 8 else array.astype(np.int16 if bits <= 16 else np.int32)
  elif kind == 3:
    array = array.astype(np.float32)
  else:
    array = array.astype(np.uint16) if bits <= 16 else array.view(np.uint32)
  return _meant(array, tags.get(_PHOTOMETRIC) == 0, tags.get(_NODATA))


def take_decoded_order(picture: ImageFile.ImageFile) -> None:
  """Makes pillow take the values of a compressed TIFF, not loaded yet, as libtiff orders them."""
  picture.tile = [
    tile._replace(args=(_DECODED.get(tile.args[0], tile.args[0]), *tile.args[1:]))
    if tile.codec_name == "libtiff" and isinstance(tile.args, tuple)
    else tile
    for tile in picture.tile
  ]


def eight_bits(array: np.ndarray, tags: Mapping[int, Any]) -> np.ndarray:
  """8 bits [H, W, C], as RGBA where pixels have no value: all channels hold that of the nodata tag.

  Alpha, which is 0 there, says so instead of NaN: 8 bits mean 0 to 255 and floating point does not.
  """
  try:
    nodata = float(tags[_NODATA])
  except (KeyError, TypeError, ValueError):
    return array
  missing = (array == (255 - nodata if tags.get(_PHOTOMETRIC) == 0 else nodata)).all(-1)
  if not missing.any():
    return array
  alpha = np.where(missing, 0, 255).astype(np.uint8)[..., None]
  return np.concatenate([*[array] * (3 // array.shape[-1]), alpha], -1)


def is_rare(file: BinaryIO) -> bool:
  """Whether the file is a TIFF of pixels that pillow has no type for, such as float16."""
  file.seek(0)
  magic = file.read(4)
  if magic not in _MAGIC:
    return False
  if magic == _BIG_ENDIAN_BIG:  # of which pillow (13) says that it is damaged
    return True
  file.seek(0)
  try:
    Image.open(file, formats=("TIFF",))
  except Image.UnidentifiedImageError:
    return True
  except Exception:  # damaged; `read.decode` says how
    return False
  return False


def count_pages(file: BinaryIO) -> int:
  """Number of the pages of a TIFF; 1 for what cannot be read as one."""
  rare = is_rare(file)
  file.seek(0)
  try:
    if rare:
      with _opened(file) as opened:
        return len(opened.pages)
    return getattr(Image.open(file, formats=("TIFF",)), "n_frames", 1)
  except Exception:  # no TIFF, or damaged; `read.decode` says how
    return 1


def decode_rare(file: BinaryIO, max_pixels: int) -> np.ndarray:
  """Reads a grey TIFF of a type that pillow does not know, without rare compressions."""
  file.seek(0)
  with _opened(file) as opened:
    if len(opened.pages) > 1:
      raise InputError(f"has {len(opened.pages)} frames, expected a single picture")
    return _decode_page(opened.pages[0], file, max_pixels)


def decode_rare_pages(file: BinaryIO, max_pixels: int) -> Iterator[np.ndarray]:
  """Reads all pages of such a TIFF, one at a time."""
  file.seek(0)
  with _opened(file) as opened:
    for page in opened.pages:
      yield _decode_page(page, file, max_pixels)


def _opened(file: BinaryIO) -> Any:
  import tifffile  # here, as few need it

  logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # the error says what is wrong
  return tifffile.TiffFile(file)


def _decode_page(page: Any, file: BinaryIO, max_pixels: int) -> np.ndarray:
  if not hasattr(page, "photometric"):
    raise InputError("not an image of a known format")
  if math.prod(page.shape[:2]) > max_pixels:
    size = "x".join(map(str, page.shape[1::-1]))
    raise InputError(f"{size} pixels exceed the limit of {max_pixels} (max_pixels)")
  numbers = page.dtype is not None and page.dtype.kind in "uif"
  if len(page.shape) != 2 or page.photometric not in (0, 1) or not numbers:
    raise InputError(
      f"a TIFF of shape {page.shape} and type {page.dtype} is not supported; allowed are 8-bit "
      "grey, RGB, RGBA and palette, and grey of any integer or floating-point type; of big-endian "
      "BigTIFF grey alone"
    )
  orientation = page.tags.valueof(ORIENTATION, 1)
  if orientation != 1:
    raise InputError(f"a TIFF of {page.dtype} that is to be turned (orientation {orientation})")
  _require_segments(page, file)
  array = _decompress(page)
  nodata = page.tags.valueof(_NODATA)
  white_is_zero = page.photometric == 0
  return _meant(array.astype(array.dtype.newbyteorder("=")), white_is_zero, nodata)[..., None]


def _decompress(page: Any) -> np.ndarray:
  """The values of a page; InputError where tifffile needs the package imagecodecs for them."""
  import tifffile

  try:
    tifffile.TIFF.DECOMPRESSORS[page.compression]
    tifffile.TIFF.UNPREDICTORS[page.predictor]
  except KeyError as error:
    raise _without_decoder(page) from error
  try:
    return page.asarray()
  except ImportError as error:
    raise _without_decoder(page) from error


def _without_decoder(page: Any) -> InputError:
  kinds = [page.compression, *([page.predictor] if page.predictor > 1 else [])]
  names = " with the predictor ".join(getattr(kind, "name", str(kind)) for kind in kinds)
  return InputError(
    f"a TIFF of {page.dtype} compressed by {names}, which needs another decoder; pip install "
    "imagecodecs, or save it uncompressed, or deflated without a predictor"
  )


def _require_segments(page: Any, file: BinaryIO) -> None:
  """Raises InputError where strips or tiles of a page are missing, which would read as zeros."""
  segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
  file.seek(0, os.SEEK_END)
  size = file.tell()
  whole = all(count > 0 and 0 < start <= size - count for start, count in segments)
  if not whole or len(segments) != math.prod(page.chunked):
    raise InputError("image file is truncated")


def _meant(array: np.ndarray, white_is_zero: bool, nodata: Any) -> np.ndarray:
  """The values of a TIFF with NaN for missing ones, and inverted where white is zero.

  Integers become floating point where a value is missing, or a tag says which means that: the
  images of a folder that have the tag are of one type, whether they lack values or not. Floating
  point becomes float32 or float64, after what stands for a missing value was rounded as its own.
  """
  missing, tagged, kind = np.zeros(array.shape, bool), False, array.dtype.kind
  own = array.dtype.type if kind == "f" else float
  with np.errstate(over="ignore", invalid="ignore"):
    if kind != "u":
      missing |= ~np.isfinite(array) | (array == own(_MISSING))
    if kind == "f":
      missing |= (np.abs(array - own(_NO_CELSIUS)) < _CLOSE) | (np.abs(array) > own(_ENDLESS))
    with contextlib.suppress(TypeError, ValueError):
      missing |= array == own(float(nodata))
      tagged = True
  if white_is_zero:
    if kind != "u":
      raise InputError(f"white is zero in {array.dtype} values; save it with black as zero")
    array = np.iinfo(array.dtype).max - array
  if kind != "f" and not tagged and not missing.any():
    return array
  floating = np.promote_types(array.dtype, np.float32)  # holds every integer of up to 32 bits
  return np.where(missing, np.nan, array).astype(floating)
