"""Images as users hold them, arrays of any library, lists, pictures and paths, as NumPy arrays."""

import os
from typing import Any

import jax
import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images import read

# Types of numbers that NumPy or JAX lacks, by name, and those that hold their values.
_PLAIN: dict[str, type[np.generic]] = {
  "bfloat16": np.float32,
  "longdouble": np.float64,
  "float128": np.float64,
}
_PLAIN |= dict.fromkeys(("int2", "int4"), np.int8) | dict.fromkeys(("uint2", "uint4"), np.uint8)
_PLAIN |= {f"float8_{kind}": np.float32 for kind in ("e4m3fn", "e5m2", "e4m3", "e3m4")}


def to_array(image: Any, name: str) -> np.ndarray:
  """The numbers of an image, or of a batch, as a NumPy array in this machine's byte order.

  It is a masked array where values of `image`, or of an item in a list, are masked.

  image: an array of NumPy or JAX, a list, whatever has `__array__` (a tensor of PyTorch on the
    CPU), a pillow image, or the path of a file; the last two are read as files are, grey as [H, W].
    bfloat16 and other types of JAX that NumPy lacks become float32, int8 or uint8, floating point
    beyond float64 becomes that; whole numbers in a list become the smallest of uint8 and uint16
    that holds them. Raises InputError for what holds no numbers.
  """
  if isinstance(image, str | os.PathLike):
    return _without_channel(read.read_image(image))
  if isinstance(image, Image.Image):
    return _without_channel(read.from_pillow(image, name))
  if isinstance(image, jax.core.Tracer):
    raise InputError(
      f"{name} is traced by JAX; programs of our own take it, so call this outside of jit; to fuse "
      "inside, trace model.fusion_graph((height, width)).function"
    )
  try:
    if np.ma.is_masked(image):
      array = image
    elif isinstance(image, list | tuple) and any(map(np.ma.is_masked, image)):
      array = np.ma.stack(image)
    else:
      array = np.asarray(image)
  except Exception as error:  # of whatever library the object is
    raise InputError(f"{name} is a {type(image).__name__} that is no array: {error}") from error
  if (plain := _PLAIN.get(array.dtype.name)) is not None:
    array = array.astype(plain)
  if isinstance(image, list | tuple) and array.dtype.kind == "i" and array.size:
    unsigned = np.min_scalar_type(max(int(array.max()), 0))
    array = array.astype(unsigned) if array.min() >= 0 and unsigned.itemsize <= 2 else array
  return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def to_filled(image: Any, name: str) -> np.ndarray:
  """The numbers as of `to_array` with NaN for what is masked; integers become float32 there."""
  array = to_array(image, name)
  if not np.ma.is_masked(array):
    return np.ma.getdata(array)
  floating = np.promote_types(array.dtype, np.float32)
  return np.where(np.ma.getmaskarray(array), np.nan, array).astype(floating)


def _without_channel(image: np.ndarray) -> np.ndarray:
  return image[..., 0] if image.shape[-1] == 1 else image
