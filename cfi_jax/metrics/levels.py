"""From images to the 8-bit grey levels that metrics score, by each convention's rule."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.images import ops
from cfi_jax.images.given import to_array
from cfi_jax.metrics.definition import check_convention

TOOLKIT_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)


def quantise(image: Array) -> Array:
  """int32 levels 0..255 of an image in [0, 1], rounded half up as a saved file is; any shape."""
  return ops.to_uint8(image).astype(jnp.int32)


def grey_levels(image: Any, convention: str, name: str = "image") -> np.ndarray:
  """uint8 [H, W]: the grey levels of an image as the convention reads them.

  Colour is weighted by each toolkit's own luma rule; grey passes unchanged. No stretching.

  Args:
    image: [H, W], [H, W, 1] or [H, W, 3] (red, green, blue); integer levels 0..255, or floats on
      the same scale, which are rounded half up first, as a saved file would be. Whatever
      `images.given.to_array` takes.
    convention: "tang", "cddfuse" or "strict".
    name: of the image, for the error message.

  Raises:
    InputError: floats on 0..1, NaN, masked pixels, levels outside 0..255, another shape, an
      unknown convention.
  """
  check_convention(convention)
  levels = _eight_bit(to_array(image, name), name)
  if levels.ndim == 2:
    return levels
  if levels.ndim != 3 or levels.shape[-1] not in (1, 3):
    raise InputError(f"{name}: expected [H, W], [H, W, 1] or [H, W, 3], got shape {levels.shape}")
  if levels.shape[-1] == 1:
    return levels[..., 0]
  return _GREY[convention](levels)


def _eight_bit(image: np.ndarray, name: str) -> np.ndarray:
  if not (np.issubdtype(image.dtype, np.integer) or np.issubdtype(image.dtype, np.floating)):
    raise InputError(f"{name}: expected levels 0..255, got an array of {image.dtype}")
  if np.ma.is_masked(image):
    raise InputError(f"{name}: the image has masked pixels, which no metric leaves out")
  image = np.ma.getdata(image)
  if image.size == 0:
    raise InputError(f"{name}: the image is empty, shape {image.shape}")
  if np.issubdtype(image.dtype, np.integer):
    if image.min() < 0 or image.max() > 255:
      raise InputError(f"{name}: levels {image.min()}..{image.max()}; allowed: 0..255 (8 bit)")
    return image.astype(np.uint8)
  if not np.isfinite(image).all():
    raise InputError(f"{name}: the image holds NaN or infinite values")
  if 0 < image.max() <= 1:
    raise InputError(
      f"{name}: floating-point levels reach only {image.max():.3g}; metrics are defined on 0..255, "
      "so multiply an image in [0, 1] by 255"
    )
  return np.clip(np.floor(image + 0.5), 0, 255).astype(np.uint8)


def _grey_tang(levels: np.ndarray) -> np.ndarray:
  red, green, blue = (levels[..., k].astype(np.float64) for k in range(3))
  grey = TOOLKIT_WEIGHTS[0] * red + TOOLKIT_WEIGHTS[1] * green + TOOLKIT_WEIGHTS[2] * blue
  return np.floor(grey + 0.5).astype(np.uint8)


def _grey_cddfuse(levels: np.ndarray) -> np.ndarray:
  red, green, blue = (levels[..., k].astype(np.float32) for k in range(3))
  grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
  return np.rint(grey).astype(np.uint8)


def _grey_strict(levels: np.ndarray) -> np.ndarray:
  red, green, blue = (levels[..., k].astype(np.int32) for k in range(3))
  return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)


_GREY = {"tang": _grey_tang, "cddfuse": _grey_cddfuse, "strict": _grey_strict}
