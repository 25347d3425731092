"""Training crops, flips and transposition, drawn as integers from (seed, epoch, index)."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """One sample's augmentation, five integers: crop, then flip, then transpose.

  top, left: corner of the crop in the image, after `pad_to` where the image is too small.
  flip_horizontal, flip_vertical, transpose: 0 or 1.
  """

  top: int
  left: int
  flip_horizontal: int
  flip_vertical: int
  transpose: int


def draw(
  seed: int,
  epoch: int,
  index: int,
  height: int,
  width: int,
  *,
  crop: int,
  flip: bool,
  transpose: bool,
) -> Augmentation:
  """Draws the augmentation of record `index` in `epoch`; a pure function of its arguments.

  height, width: the image's size in pixels. It uses Philox's raw stream, which numpy keeps stable
  across versions and machines, unlike its distributions.
  """
  bits = raw_bits(seed, (epoch, index), 5)
  return Augmentation(
    top=int(bits[0] % np.uint64(max(height - crop, 0) + 1)),
    left=int(bits[1] % np.uint64(max(width - crop, 0) + 1)),
    flip_horizontal=int(bits[2] >> np.uint64(63)) if flip else 0,
    flip_vertical=int(bits[3] >> np.uint64(63)) if flip else 0,
    transpose=int(bits[4] >> np.uint64(63)) if transpose else 0,
  )


def centre(height: int, width: int, *, crop: int) -> Augmentation:
  """Places a centred crop without flips, for validation."""
  return Augmentation(max(height - crop, 0) // 2, max(width - crop, 0) // 2, 0, 0, 0)


def apply(augmentation: Augmentation, image: np.ndarray, crop: int) -> np.ndarray:
  """Cuts the augmented sample [crop, crop, C] out of an image [H, W, C] of any dtype."""
  top, left = augmentation.top, augmentation.left
  image = pad_to(image, crop)[top : top + crop, left : left + crop]
  if augmentation.flip_horizontal:
    image = image[:, ::-1]
  if augmentation.flip_vertical:
    image = image[::-1]
  return image.swapaxes(0, 1) if augmentation.transpose else image


def pad_to(image: np.ndarray, size: int) -> np.ndarray:
  """Pads [H, W, C] to at least size x size, centred, by reflection without repeating the edge.

  Reflects as often as needed; a side of one pixel is repeated. Larger images are returned as is.
  """
  short = [max(size - side, 0) for side in image.shape[:2]]
  if not any(short):
    return image
  return np.pad(image, [*((s // 2, s - s // 2) for s in short), (0, 0)], mode="reflect")


def raw_bits(seed: int, stream: tuple[int, ...], count: int) -> np.ndarray:
  """Draws `count` uniform uint64 of the stream named by non-negative integers, on any machine."""
  return np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)).random_raw(count)
