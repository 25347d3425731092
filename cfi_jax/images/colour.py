"""Luma and chroma, full-range BT.601 with the roundings of OpenCV's COLOR_RGB2YCrCb and back.

Integer images: fixed point with 14 fractional bits. Floating-point images: OpenCV's three-digit
coefficients.
"""

import functools

import numpy as np

from cfi_jax.images import read as images

SHIFT = 14
COLOUR_STEP = 8 / 255  # channels that differ more than this (as JPEG's rounding may) show colour,
COLOUR_SHARE = 0.001  # if that holds for more than this share of the pixels
ROWS = 256  # rows treated at once: bounds the memory of the wide intermediate integers


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


def _replace_integer(rgb: np.ndarray, new_luma: np.ndarray) -> np.ndarray:
  # 65535 * 29049 fits into 31 bits.
  largest = np.iinfo(rgb.dtype).max
  half = (largest + 1) // 2
  old = images.luma(rgb)[..., 0].astype(np.int32)
  red = np.clip(_descale((rgb[..., 0] - old) * 11682 + (half << SHIFT)), 0, largest) - half
  blue = np.clip(_descale((rgb[..., 2] - old) * 9241 + (half << SHIFT)), 0, largest) - half
  new = new_luma.astype(np.int32)
  channels = (
    new + _descale(red * 22987),
    new + _descale(red * -11698 + blue * -5636),
    new + _descale(blue * 29049),
  )
  return np.clip(np.stack(channels, -1), 0, largest).astype(rgb.dtype)


def _replace_float(rgb: np.ndarray, new_luma: np.ndarray, clip: bool) -> np.ndarray:
  old = luma(rgb)
  red, blue = (rgb[..., 0] - old) * 0.713, (rgb[..., 2] - old) * 0.564
  channels = (
    new_luma + 1.403 * red,
    new_luma - 0.714 * red - 0.344 * blue,
    new_luma + 1.773 * blue,
  )
  replaced = np.stack(channels, -1)
  return (np.clip(replaced, 0, 1) if clip else replaced).astype(rgb.dtype)
