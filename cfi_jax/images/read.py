"""Reading image files into integer arrays, and luma."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, ImageOps

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.images import radiometric, tiff

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000")
LUMA_ROWS = 32  # rows treated at once, so that wide integers stay in the processor's cache
MAX_PIXELS = 2**26  # 8192 x 8192; a file that claims more is taken for a decompression bomb

# What a file's pillow mode becomes. Alpha of grey images is dropped here unless some is 0, alpha of
# colour images in `luma`; a palette ("P") becomes RGB or, with transparent entries, RGBA.
_MODES = {
  "1": "L",
  "L": "L",
  "LA": "L",
  "RGB": "RGB",
  "RGBA": "RGBA",
  "PA": "RGBA",
  "CMYK": "RGB",
  "YCbCr": "RGB",
}
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
_GREY_TIFF = (*_GREY_16, "I", "F")  # whose values `tiff.values` makes of what pillow gives
# Pillow keeps only the high byte of 16-bit PNG colour. Per raw mode it would read, the raw modes
# that give all bytes: high then low bytes, or (grey and alpha) the four bytes of a pixel at once.
_WIDE_PNG = {
  "RGB;16B": ("RGB;16B", "RGB;16L"),
  "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
  "LA;16B": ("RGBA",),
}
_END = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}


def read_image(
  path: str | os.PathLike, max_pixels: int = MAX_PIXELS, embedded: bool = False
) -> np.ndarray:
  """Reads a file to [H, W, C] in its own type, C = 1 (grey), 3 (RGB) or 4 (RGBA).

  The type is uint8 or uint16; that of a grey TIFF may be any integer or floating point. What its
  values mean is said by `images.ranges`. Pixels of a TIFF without a value (NaN, its nodata tag,
  -9999 in signed and floating-point types, -273.15 in floating point) are NaN, integers being
  floating point then; of 8 bits, and of grey with alpha, they are transparent in RGBA
  (`images.validity`). Palettes are looked up, 1-bit becomes 0 and 255, CMYK becomes RGB, "white is
  zero" is inverted, EXIF orientation is applied, 16-bit PNG keeps all bits in grey and in colour. A
  radiometric JPEG of FLIR gives its temperatures, float32 kelvin (`images.radiometric`), or,
  `embedded`, its visible picture. Raises InputError naming the file for anything else: not an
  image, truncated, several frames, over `max_pixels`.
  """
  with open_picture(path, embedded) as file:
    return decode(file, os.fspath(path), max_pixels)


def read_classes(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """Reads a label image as `read_image` does, but a palette as its indices, the classes.

  One bit is 0 and 1.
  """
  try:
    with storage.open_binary(path) as file:
      return decode_classes(file, os.fspath(path), max_pixels)
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error


def decode_classes(file: BinaryIO, label: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """Reads an open seekable file as `read_classes` does; `label` names it in errors."""
  with _readable(label):
    picture = None if tiff.is_rare(file) else _open(file, max_pixels)
    if picture is not None and picture.mode in ("P", "1"):
      ImageOps.exif_transpose(picture, in_place=True)
      return np.array(picture, np.uint8)[..., None]
  return decode(file, label, max_pixels)


def decode(file: BinaryIO, label: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """Reads an open seekable file as `read_image` does; `label` names it in errors."""
  with _readable(label):
    if tiff.is_rare(file):
      return tiff.decode_rare(file, max_pixels)
    thermal = radiometric.find(file)
    if thermal is not None:
      return thermal.kelvin(max_pixels)[..., None]
    picture = _open(file, max_pixels)
    raw_modes = _WIDE_PNG.get(_raw_mode(picture))
    if raw_modes is None:
      return _to_array(picture)
    parts = [
      _to_array(_open(file, max_pixels), raw_mode).astype(np.uint16) for raw_mode in raw_modes
    ]
    if len(parts) == 1:  # grey and alpha: the bytes grey high, grey low, alpha high, alpha low
      both = (parts[0][..., ::2] << 8) | parts[0][..., 1::2]
      return both[..., [0, 0, 0, 1]] if (both[..., 1] == 0).any() else both[..., :1]
    high, low = parts
    return (high << 8) | low


def decode_pages(file: BinaryIO, label: str, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
  """Yields the pages of an open TIFF, one at a time, as `read_image` gives single pictures."""
  with _readable(label):
    if tiff.is_rare(file):
      yield from tiff.decode_rare_pages(file, max_pixels)
      return
    picture = _open(file, max_pixels, pages=True)
    for page in range(getattr(picture, "n_frames", 1)):
      picture.seek(page)
      _take_mode(picture)
      yield _to_array(picture.copy(), tags=dict(picture.tag_v2))


def from_pillow(picture: Image.Image, label: str) -> np.ndarray:
  """The values of a pillow image, [H, W, C], as `read_image` gives those of a file."""
  with _readable(label):
    _take_mode(picture)
    thermal = radiometric.of_pillow(picture)
    if thermal is not None:
      return thermal.kelvin(MAX_PIXELS)[..., None]
    if _raw_mode(picture) in _WIDE_PNG:  # not loaded yet, which would lose the low bytes
      return decode(picture.fp, label)
    tags = dict(picture.tag_v2) if picture.format == "TIFF" else None
    if tags is None and picture.mode in ("I", "F") and picture.format != "PNG":
      return np.array(ImageOps.exif_transpose(picture))[..., None]
    return _to_array(picture.copy(), tags=tags)


def open_picture(path: str | os.PathLike, embedded: bool = False) -> BinaryIO:
  """Opens an image file; embedded: the visible picture inside a radiometric JPEG instead.

  Raises InputError naming the file where there is none.
  """
  try:
    if not embedded:
      return storage.open_binary(path)
    with storage.open_binary(path) as file, _readable(os.fspath(path)):
      thermal = radiometric.find(file)
      if thermal is None:
        raise InputError("no radiometric JPEG of FLIR, which could hold a visible picture")
      return thermal.visible()
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error


def require_visible(file: BinaryIO, label: str) -> None:
  """Raises InputError for an open radiometric JPEG, which would be read as temperatures."""
  with _readable(label):
    found = radiometric.find(file)
  if found is not None:
    raise InputError(
      f"{label}: a radiometric JPEG, given as the visible image; --flir takes both images of such "
      "files, --infrared their temperatures"
    )


@dataclasses.dataclass(frozen=True)
class Header:
  """Size of a picture in pixels, its type, and how many channels are used of it; 1 is luma."""

  height: int
  width: int
  depth: type[np.generic]
  channels: int = 1


def read_header(file: BinaryIO, label: str, max_pixels: int = MAX_PIXELS) -> Header:
  """Size and depth of an open file's picture, making sure that the file is whole.

  Reads the header and the end marker of a PNG or JPEG; where that is not found, and for all other
  formats, the file is decoded. Raises InputError like `read_image`, but damage in the middle of a
  PNG or JPEG shows only when it is decoded.
  """
  with _readable(label):
    decoded = tiff.is_rare(file) or radiometric.find(file) is not None
    picture = None if decoded else _open(file, max_pixels)
    marker = None if picture is None else _END.get(picture.format)
    if picture is not None and marker is not None:
      width, height = picture.size
      wide = picture.mode == "I" or picture.mode in _GREY_16 or _raw_mode(picture) in _WIDE_PNG
      # getexif() of a PNG decodes the whole picture unless the EXIF chunk was seen already.
      exif = picture.getexif() if picture.format != "PNG" or "exif" in picture.info else {}
      if exif.get(tiff.ORIENTATION, 1) >= 5:
        width, height = height, width
      file.seek(-len(marker), os.SEEK_END)
      if file.read() == marker:
        return Header(height, width, np.uint16 if wide else np.uint8)
  image = decode(file, label, max_pixels)
  return Header(*image.shape[:2], image.dtype.type)


def inspect(file: BinaryIO, label: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
  """Height and width by `read_header`."""
  header = read_header(file, label, max_pixels)
  return header.height, header.width


def luma(image: np.ndarray) -> np.ndarray:
  """Full-range BT.601 luma, [H, W, C] -> [H, W, 1] of the same dtype.

  uint8 and uint16: Y = (4899 R + 9617 G + 1868 B + 8192) >> 14, the fixed-point rounding of
  OpenCV's COLOR_RGB2YCrCb. The weights sum to 2^14, so equal channels give exactly the grey value.
  Floating point: 0.299 R + 0.587 G + 0.114 B. Other integers: those, rounded. Alpha is dropped.
  """
  if image.shape[-1] == 1:
    return image
  if image.dtype not in (np.uint8, np.uint16):
    value = weigh(image if image.dtype.kind == "f" else image.astype(np.float64))
    return np.asarray(value if image.dtype.kind == "f" else np.rint(value), image.dtype)
  result = np.empty((*image.shape[:-1], 1), image.dtype)
  for start in range(0, len(image), LUMA_ROWS):
    rows = slice(start, start + LUMA_ROWS)
    total = np.full(result[rows].shape, 8192, np.uint32)
    for c, weight in enumerate((4899, 9617, 1868)):
      total += np.multiply(image[rows, ..., c : c + 1], weight, dtype=np.uint32)
    result[rows] = total >> 14
  return result


def weigh(image: Any) -> Any:
  """Luma of floating point [..., C] of C = 3 or 4, [..., 1]; arrays of NumPy or of JAX."""
  red, green, blue = (image[..., c : c + 1] for c in range(3))
  return 0.299 * red + 0.587 * green + 0.114 * blue


@contextlib.contextmanager
def _readable(label: str) -> Iterator[None]:
  """Turns whatever a decoder raises on damaged bytes into an InputError that names the file."""
  try:
    yield
  except InputError as error:
    raise InputError(f"{label}: {error}") from error
  except (MemoryError, StorageError):
    raise
  except Exception as error:  # pillow's decoders raise nearly any type on damaged bytes
    raise InputError(f"{label}: cannot be read as an image ({error})") from error


def _open(file: BinaryIO, max_pixels: int, pages: bool = False) -> Image.Image:
  """Opens the picture and refuses, from its header alone, what cannot be read faithfully.

  pages: whether there may be several.
  """
  if file.seek(0, os.SEEK_END) == 0:
    raise InputError("the file is empty (0 bytes)")
  file.seek(0)
  try:
    picture = Image.open(file, formats=FORMATS)
  except Image.UnidentifiedImageError as error:
    raise InputError(f"not an image of a known format ({', '.join(FORMATS)})") from error
  width, height = picture.size
  if width * height > max_pixels:
    raise InputError(f"{width}x{height} pixels exceed the limit of {max_pixels} (max_pixels)")
  # "MPO" is a phone's JPEG with a second view or a preview behind the picture.
  if not pages and picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
    raise InputError(f"has {picture.n_frames} frames, expected a single picture")
  _take_mode(picture)
  if picture.format == "TIFF" and picture.mode not in _GREY_TIFF:
    bits = picture.tag_v2.get(tiff.BITS_PER_SAMPLE, (8,))
    if max(bits) > 8:
      raise InputError(f"colour TIFF with {max(bits)} bits per sample; save it as 16-bit PNG")
  if picture.format == "JPEG2000" and picture.mode not in _GREY_16:
    bits = _jpeg_2000_bits(file)
    if bits > 8:
      raise InputError(f"colour JPEG 2000 with {bits} bits per sample; save it as 16-bit PNG")
  return picture


def _take_mode(picture: Image.Image) -> None:
  """Refuses pixels that are not read; those of a compressed TIFF are taken in their order."""
  if picture.mode not in (*_MODES, *_GREY_TIFF, "P"):
    raise InputError(
      f"pixel type {picture.mode!r} of this {picture.format or 'image'} is not supported; allowed "
      "are 8-bit and 16-bit grey, RGB, RGBA and palette, and grey TIFF of any type"
    )
  if picture.format == "TIFF" and isinstance(picture, ImageFile.ImageFile):
    tiff.take_decoded_order(picture)


def _jpeg_2000_bits(file: BinaryIO) -> int:
  """Largest depth of a component, by the marker SIZ, which begins the code stream."""
  file.seek(0)
  start = file.read(2**16).find(b"\xff\x4f\xff\x51")  # after the boxes, which are short
  file.seek(start + 40)
  count = int.from_bytes(file.read(2), "big")
  depths = file.read(3 * count)[::3]
  file.seek(0)
  if start < 0 or not depths:
    raise InputError("a JPEG 2000 file without a code stream")
  return max((depth & 0x7F) + 1 for depth in depths)


def _raw_mode(picture: Image.Image) -> str | None:
  if picture.format != "PNG" or not picture.tile:
    return None
  return picture.tile[0][3]


def _to_array(
  picture: Image.Image, raw_mode: str | None = None, tags: Mapping[int, Any] | None = None
) -> np.ndarray:
  if raw_mode is not None:
    codec, extents, offset, _ = picture.tile[0]
    picture.tile = [(codec, extents, offset, raw_mode)]
  if picture.format == "TIFF":
    tags = dict(picture.tag_v2)
  ImageOps.exif_transpose(picture, in_place=True)
  if tags is not None and (picture.mode in _GREY_TIFF or tags.get(tiff.SAMPLE_FORMAT) == (2,)):
    return tiff.values(np.asarray(picture), tags)[..., None]
  if picture.mode in _GREY_TIFF:
    return np.asarray(picture).astype(np.uint16)[..., None]
  if picture.mode == "P":
    mode = "RGBA" if picture.has_transparency_data else "RGB"
  else:
    mode = _MODES[picture.mode]
  if raw_mode is None and mode in ("L", "RGB") and picture.has_transparency_data:
    array = np.array(picture.convert("RGBA"))
    if (array[..., 3] == 0).any():
      return array
  array = np.array(picture if picture.mode == mode else picture.convert(mode))
  array = array[..., None] if array.ndim == 2 else array
  return array if tags is None or picture.mode not in ("L", "RGB") else tiff.eight_bits(array, tags)
