"""Conversions between images as users hold them and the windows that a network computes on."""

from collections.abc import Sequence

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.images import colour

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
MIN_SIDE = 8  # pixels; no width can be taken for an axis of channels


def has_channels(image: np.ndarray) -> bool:
  """Whether the last axis is one of channels; a width is at least `MIN_SIDE`."""
  return image.ndim == 4 or (image.ndim == 3 and image.shape[-1] in CHANNELS)


def as_batch(image: np.ndarray, name: str) -> np.ndarray:
  """Returns an image or a batch as [B, H, W, C]; refuses what cannot be fused.

  image: [H, W], [H, W, C], [B, H, W] or [B, H, W, C], C = 1, 3 or 4, channels last.
    [3, H, W] and [4, H, W] are refused: they are nearly always channels, not grey images.
  """
  if image.dtype.kind not in "uif":
    raise InputError(f"{name} is {image.dtype}; allowed: integers and floating point")
  batch = image if has_channels(image) else image[..., None]
  batch = batch if batch.ndim == 4 else batch[None]
  _refuse_channels_first(image, name)
  known = image.ndim >= 2 and batch.ndim == 4 and batch.shape[-1] in CHANNELS and batch.shape[0]
  if not known or min(batch.shape[1:3]) < MIN_SIDE:
    raise InputError(
      f"{name} has shape {image.shape}; allowed: [H, W], [H, W, C], [B, H, W] or [B, H, W, C] with "
      f"C = 1, 3 or 4, height and width from {MIN_SIDE}"
    )
  return batch


def _refuse_channels_first(image: np.ndarray, name: str) -> None:
  """Raises InputError for [3, H, W] and the like, with what to write instead.

  [1, H, W] is a batch of one grey image, which is the same picture.
  """
  axis = image.ndim - 3
  colours = CHANNELS[1:] if axis == 0 else CHANNELS
  if axis not in (0, 1) or image.shape[-1] in CHANNELS or image.shape[axis] not in colours:
    return
  other = f", or {name}[..., None] for {len(image)} grey images" if axis == 0 else ""
  raise InputError(
    f"{name} has shape {image.shape}: its channels come first; write np.moveaxis({name}, {axis}, "
    f"-1){other}"
  )


def as_image(image: np.ndarray, name: str) -> np.ndarray:
  """Returns [H, W] or [H, W, C] as [H, W, C]; refuses batches and what cannot be fused."""
  batch = as_batch(image, name)
  if len(batch) != 1:
    raise InputError(f"{name} is a batch of {len(batch)} images; allowed here: one")
  return batch[0]


def in_form(pictures: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
  """Joins pictures [H, W, C] of one size in the form of an image or batch that `as_batch` took."""
  joined = np.stack(pictures)
  channels = joined.shape[-1:] if has_channels(image) else ()
  return joined.reshape(image.shape[: image.ndim - len(channels)] + channels)


def require_pairs(visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray]) -> None:
  """Raises InputError unless there are as many images of either kind, in pairs of one size."""
  if len(visibles) != len(infrareds):
    raise InputError(f"batches of {len(visibles)} visible and {len(infrareds)} infrared images")
  for visible, infrared in zip(visibles, infrareds, strict=True):
    if visible.shape[:2] != infrared.shape[:2]:
      raise InputError(
        f"the images differ in size: visible {visible.shape[0]}x{visible.shape[1]}, infrared "
        f"{infrared.shape[0]}x{infrared.shape[1]} (height x width); they must be aligned"
      )


def window(
  image: np.ndarray, start: tuple[int, int], shape: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
  """Cuts the luma of [H, W, C], in [0, 1], to the window of `shape` at `start`; 0 outside."""
  begin = [max(0, s) for s in start]
  end = [min(n, s + m) for n, s, m in zip(image.shape, start, shape, strict=False)]
  part = colour.luma(image[begin[0] : end[0], begin[1] : end[1]]).astype(dtype)
  if image.dtype.kind == "u":
    part /= np.iinfo(image.dtype).max
  result = np.zeros(shape, dtype)
  rows, columns = (slice(b - s, e - s) for b, e, s in zip(begin, end, start, strict=True))
  result[rows, columns] = part
  return result


def quantize(fused: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Converts fused luma in [0, 1] to the dtype of the images."""
  if np.dtype(dtype).kind == "u":
    return colour.to_integer(fused, dtype)
  return np.clip(fused, 0, 1).astype(dtype)


def finish(visible: np.ndarray, luma: np.ndarray, gray: bool) -> np.ndarray:
  """Makes the fused image [H, W, C] of the visible one and the fused luma [H, W] of its dtype."""
  return luma[..., None] if gray else colour.recolour(visible, luma)
