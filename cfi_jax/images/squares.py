"""Square pictures of one size, made of pictures of any: padded by their border, then scaled."""

import numpy as np
from PIL import Image


def margins(height: int, width: int) -> tuple[int, int]:
  """Pixels above and to the left of a picture that is centred in its square."""
  side = max(height, width)
  return (side - height) // 2, (side - width) // 2


def pad(picture: np.ndarray) -> np.ndarray:
  """The picture [H, W, C], centred in a square, its border repeated."""
  sides = picture.shape[:2]
  around = [(m, max(sides) - n - m) for m, n in zip(margins(*sides), sides, strict=True)]
  return np.pad(picture, [*around, (0, 0)], mode="edge")


def move(places: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
  """Places [..., 2], x and y in pixels of a picture, in its square at that side."""
  above, left = margins(height, width)
  return (places + (left, above)) * (side / max(height, width))


def scale(square: np.ndarray, side: int) -> np.ndarray:
  """A square picture, uint8 [N, N, 3], at another side."""
  if square.shape[0] == side:
    return square
  return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC))
