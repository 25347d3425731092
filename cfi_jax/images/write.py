"""Encoding fused images [H, W, C] as picture files."""

import io
import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError

# Extension -> what it can hold: Pillow's format, its options, 16 bits, alpha.
FORMATS = {
  ".png": ("PNG", {"compress_level": 4}, True, True),
  ".jpg": ("JPEG", {"quality": 95}, False, False),
  ".jpeg": ("JPEG", {"quality": 95}, False, False),
  ".bmp": ("BMP", {}, False, False),
  ".tif": ("TIFF", {"compression": "tiff_lzw"}, False, True),
  ".tiff": ("TIFF", {"compression": "tiff_lzw"}, False, True),
  ".webp": ("WEBP", {"lossless": True}, False, True),
}
# Extensions of animated pictures: Pillow's format and its options.
ANIMATED: dict[str, tuple[str, dict]] = {
  ".gif": ("GIF", {"disposal": 1}),
  ".webp": ("WEBP", {"quality": 90, "method": 4}),
}
# What Pillow raises for sides that a format cannot hold.
_TOO_LARGE = (OSError, ValueError, OverflowError, struct.error)
_PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def check_extension(extension: str) -> None:
  """Refuses an extension (with its dot) that cannot be written."""
  if extension.lower() not in FORMATS:
    raise InputError(f"cannot write {extension!r} files; allowed: {', '.join(FORMATS)}")


def type_for(path: str | os.PathLike, dtype: np.dtype, channels: int) -> np.dtype:
  """The type that values of a type are written in: 8 and 16 bits as they are, others as uint16.

  A grey TIFF takes signed integers as int32 and all others as float32.
  """
  dtype = np.dtype(dtype)
  if dtype in (np.uint8, np.uint16):
    return dtype
  if channels == 1 and _is_tiff(path):
    return np.dtype(np.int32 if dtype.kind == "i" else np.float32)
  return np.dtype(np.uint16)


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
  """Writes [H, W, C] (C = 1, 3, 4) of a type of `type_for`, atomically, by the extension."""
  extension = os.path.splitext(path)[1].lower()
  check_extension(extension)
  name, options, wide, alpha = FORMATS[extension]
  if image.dtype != np.uint8 and not wide and not (_is_tiff(path) and image.shape[-1] == 1):
    raise InputError(
      f"{path}: 16 bits per channel can only be written as .png, in grey also as .tif"
    )
  if image.shape[-1] == 4 and not alpha:
    raise InputError(f"{path}: {extension} holds no alpha channel; write .png")
  if image.dtype == np.uint16 and wide:
    content = _png_16(image, options["compress_level"])
  else:
    content = _encode(path, image, name, options)
  write_atomically(path, content)


def write_animation(
  path: str | os.PathLike, frames: Sequence[np.ndarray], milliseconds: int
) -> None:
  """Writes frames, uint8 RGB [H, W, 3] of one size, as one picture that repeats, atomically.

  By the extension, one of `ANIMATED`. A GIF has 256 colours, chosen for each frame.
  """
  name, options = ANIMATED[os.path.splitext(path)[1].lower()]
  first, *others = (Image.fromarray(frame) for frame in frames)
  content = io.BytesIO()
  try:
    first.save(
      content, name, save_all=True, append_images=others, duration=milliseconds, loop=0, **options
    )
  except _TOO_LARGE as error:
    raise InputError(f"{path}: cannot be written as {name} ({error})") from error
  write_atomically(path, content.getvalue())


def encode_png(image: np.ndarray, level: int) -> bytes:
  """The PNG of [H, W, C], uint8 or uint16 (C = 1, 3, 4); level: of its compression, 0 to 9."""
  if image.dtype == np.uint16:
    return _png_16(image, level)
  return _encode("an image", image, "PNG", {"compress_level": level})


def _is_tiff(path: str | os.PathLike) -> bool:
  return os.path.splitext(path)[1].lower() in (".tif", ".tiff")


def _encode(path: str | os.PathLike, image: np.ndarray, name: str, options: dict) -> bytes:
  content = io.BytesIO()
  try:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.save(content, name, **options)
  except _TOO_LARGE as error:
    height, width = image.shape[:2]
    raise InputError(
      f"{path}: {width}x{height} pixels cannot be written as {name} ({error}); write .png"
    ) from error
  return content.getvalue()


def _png_16(image: np.ndarray, level: int) -> bytes:
  """A 16-bit PNG (Pillow writes 16 bits in grey only): every row as its difference to the last."""
  height, width, channels = image.shape
  rows = image.astype(">u2").reshape(height, -1).view(np.uint8)
  filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
  filtered[:, 0] = 2  # the filter "up"
  filtered[:1, 1:] = rows[:1]
  np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256
  header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOUR_TYPES[channels], 0, 0, 0)
  chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered, level)), (b"IEND", b"")]
  return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
  checksum = zlib.crc32(kind + content)
  return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
