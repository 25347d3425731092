"""Luma and chroma, full-range BT.601 with the roundings of OpenCV's COLOR_RGB2YCrCb and back.

Integer images: fixed point with 14 fractional bits. Floating-point images: OpenCV's three-digit
coefficients.
"""

import functools
from typing import Any

import numpy as np

from cfi_jax.images import read as images

SHIFT = 14
COLOUR_STEP = 8 / 255  # channels that differ more than this (as JPEG's rounding may) show colour,
COLOUR_SHARE = 0.001  # if that holds for more than this share of the pixels
ROWS = 64  # rows treated at once: bounds the memory of the wide intermediate integers


def luma(image: np.ndarray) -> np.ndarray:
  """Luma [..., H, W] of [..., H, W, C] in the same dtype; see `read.luma`."""
  return images.luma(image)[..., 0]


def recolour(image: np.ndarray, new_luma: np.ndarray, *, clip: bool = True) -> np.ndarray:
  """`image` [H, W, C] with the luma `new_luma` [H, W] of the same dtype, chroma and alpha kept.

  image: uint8, uint16 or floating point. clip: whether floating point is kept in [0, 1].
  """
  if image.shape[-1] == 1:
    return new_luma[..., None]
  replace = _replace_integer
  if image.dtype.kind == "f":
    replace = functools.partial(_replace_float, clip=clip)
  result = np.empty_like(image)
  for start in range(0, image.shape[0], ROWS):
    rows = slice(start, start + ROWS)
    result[rows, :, :3] = replace(image[rows, :, :3], new_luma[rows])
    result[rows, :, 3:] = image[rows, :, 3:]
  return result


def is_grey(image: np.ndarray) -> bool:
  """Whether [H, W, C] shows no colour: one channel, or three equal ones."""
  if image.shape[-1] == 1:
    return True
  first = image[..., 0]
  return all(np.array_equal(first, image[..., c]) for c in (1, 2))


def shows_colour(image: np.ndarray) -> bool:
  """Whether [H, W, C] shows more colour than the rounding of JPEG gives a grey image."""
  if image.shape[-1] == 1:
    return False
  red, green, blue = (image[..., c].astype(np.float32) for c in range(3))
  highest = np.maximum(np.maximum(red, green), blue)
  step = COLOUR_STEP * (highest.max() if image.dtype.kind == "f" else np.iinfo(image.dtype).max)
  apart = highest - np.minimum(np.minimum(red, green), blue) > step
  return bool(apart.mean() > COLOUR_SHARE)


def to_integer(fused: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Maps [0, 1] to the nearest integers of the full range of `dtype`."""
  return np.rint(fused * np.asarray(np.iinfo(dtype).max, fused.dtype)).astype(dtype)


def _descale(x: np.ndarray) -> np.ndarray:
  return (x + (1 << (SHIFT - 1))) >> SHIFT


@functools.cache
def _chroma(dtype: np.dtype) -> tuple[np.ndarray, ...]:
  """Amounts that the chroma adds to the luma, by a channel's distance from it, -largest first.

  To red; to blue; to green two parts, whose sum is to be shifted right by SHIFT.
  """
  largest = np.iinfo(dtype).max
  half = (largest + 1) // 2
  distance = np.arange(-largest, largest + 1, dtype=np.int64)
  red, blue = (
    np.clip(_descale(distance * scale + (half << SHIFT)), 0, largest) - half
    for scale in (11682, 9241)
  )
  colours = (_descale(red * 22987), _descale(blue * 29049))
  parts = (red * -11698, blue * -5636 + (1 << (SHIFT - 1)))
  return *(x.astype(_wide(dtype)) for x in colours), *(x.astype(np.int32) for x in parts)


def _wide(dtype: np.dtype) -> type:
  """A type that holds sums of two values and a difference of them."""
  return np.int16 if dtype == np.uint8 else np.int32


def _replace_integer(rgb: np.ndarray, new_luma: np.ndarray) -> np.ndarray:
  largest = np.iinfo(rgb.dtype).max
  to_red, to_blue, red_to_green, blue_to_green = _chroma(rgb.dtype)
  wide = _wide(rgb.dtype)
  old = images.luma(rgb)[..., 0].astype(wide) - wide(largest)
  red, blue = rgb[..., 0] - old, rgb[..., 2] - old
  new: np.ndarray = new_luma.astype(wide)
  green = red_to_green.take(red) + blue_to_green.take(blue)
  green >>= SHIFT
  channels = (to_red.take(red) + new, green + new, to_blue.take(blue) + new)
  result = np.empty_like(rgb)
  for c, channel in enumerate(channels):
    result[..., c] = np.clip(channel, 0, largest, out=channel)
  return result


def replace_luma(rgb: Any, new_luma: Any) -> tuple[Any, Any, Any]:
  """The channels [..., 1] of floating point RGB [..., 3] with another luma [..., 1], not clipped.

  Arrays of NumPy or of JAX.
  """
  old = images.weigh(rgb)
  red, blue = (rgb[..., :1] - old) * 0.713, (rgb[..., 2:3] - old) * 0.564
  return (
    new_luma + 1.403 * red,
    new_luma - 0.714 * red - 0.344 * blue,
    new_luma + 1.773 * blue,
  )


def _replace_float(rgb: np.ndarray, new_luma: np.ndarray, clip: bool) -> np.ndarray:
  replaced = np.concatenate(replace_luma(rgb, new_luma[..., None]), -1)
  return (np.clip(replaced, 0, 1) if clip else replaced).astype(rgb.dtype)
