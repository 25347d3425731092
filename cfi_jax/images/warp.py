"""Images brought to other grids: resized, or sampled where a homography leads."""

import numpy as np
from PIL import Image

ROWS = 256  # computed at once, which bounds the memory of the coordinates


def shift(x: float, y: float) -> np.ndarray:
  """The homography that adds (x, y)."""
  return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def scaling(old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
  """The homography from pixels (x, y, 1) of an image of size (height, width) to those of another.

  Pixel centres lie at integers, and the borders of both images are the same.
  """
  y, x = (n / o for n, o in zip(new, old, strict=True))
  return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]], np.float64)


def transform(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Points (x, y) under a homography [3, 3]; infinite or NaN where they leave the plane."""
  with np.errstate(divide="ignore", invalid="ignore"):
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return u / w, v / w


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A float32 image [H, W] in another size: means where it shrinks, bilinear where it grows."""
  if image.shape == size:
    return image
  shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
  how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
  return np.asarray(Image.fromarray(image).resize(size[::-1], how))


def sample(images: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Bilinear values of images [..., H, W] at points [...]; beyond the border those at it.

  The result has the images' leading axes, then those of the points, in the images' own type if
  that is floating point.
  """
  height, width = images.shape[-2:]
  rows, down = _split(y, height)
  columns, across = _split(x, width)
  kind = images.dtype if images.dtype.kind == "f" else np.dtype(np.float64)
  across, down = across.astype(kind), down.astype(kind)
  flat = images.reshape(*images.shape[:-2], height * width)
  first = rows * width + columns
  right, below = int(width > 1), width * int(height > 1)
  top = flat[..., first] * (1 - across) + flat[..., first + right] * across
  bottom = flat[..., first + below] * (1 - across) + flat[..., first + below + right] * across
  return top * (1 - down) + bottom * down


def _split(position: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """The lower neighbour of each position in an axis, and the distance from it."""
  position = np.clip(np.nan_to_num(position, nan=0.0), 0, size - 1)
  low = np.minimum(position.astype(np.int64), max(size - 2, 0))
  return low, position - low


def inside(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Whether points lie between the centres of the outermost pixels of an image."""
  slack = 1e-6  # of rounding
  height, width = size
  with np.errstate(invalid="ignore"):
    return (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)


def warp(
  image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """An image [H, W] or [H, W, C] on a grid of `size`, and where that lies inside of it.

  matrix: from the grid's pixel (x, y, 1) to the image's. The values [*size] or [*size, C] are
  bilinear, in the image's type (integers rounded), and at the border's beyond it. A pixel without a
  value (NaN) is none of the image: where one contributes, the grid is outside. Where the image is
  much finer than the grid it is smoothed before, so that nothing aliases.
  """
  channels = image[..., None] if image.ndim == 2 else image
  kind = channels.dtype if channels.dtype.kind == "f" else np.dtype(np.float64)
  kind = np.promote_types(kind, np.float32)
  planes = np.moveaxis(channels, -1, 0).astype(kind)
  missing = np.isnan(planes).any(0)
  if missing.any():
    planes = np.where(missing, np.nanmean(planes, axis=(1, 2), keepdims=True), planes)
  planes, matrix, missing = _coarser(planes, matrix, size, missing)
  values = np.empty((*size, len(planes)), kind)
  mask = np.empty(size, bool)
  for start in range(0, size[0], ROWS):
    rows = slice(start, min(start + ROWS, size[0]))
    y, x = np.mgrid[rows, : size[1]].astype(np.float64)
    x, y = transform(matrix, x, y)
    values[rows] = np.moveaxis(sample(planes, x, y), 0, -1)
    mask[rows] = inside(x, y, planes.shape[1:])
    if missing.any():
      mask[rows] &= sample(missing.astype(np.float32), x, y) == 0
  if channels.dtype.kind in "iu":
    info = np.iinfo(channels.dtype)
    values = np.clip(np.rint(values), info.min, info.max)
  return values.astype(channels.dtype).reshape(size + image.shape[2:]), mask


def _coarser(
  planes: np.ndarray, matrix: np.ndarray, size: tuple[int, int], missing: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The same shrunk by a whole factor where the grid steps over pixels; means of that many."""
  factor = int(spacing(matrix, size))
  height, width = (side // max(factor, 1) for side in planes.shape[1:])
  if factor < 2 or min(height, width) < 2:
    return planes, matrix, missing
  blocks = (height, factor, width, factor)
  cut = (slice(height * factor), slice(width * factor))
  planes = planes[:, *cut].reshape(-1, *blocks).mean((2, 4))
  missing = np.asarray(missing[cut].reshape(blocks).any((1, 3)))
  whole = (height * factor, width * factor)
  return planes, scaling(whole, (height, width)) @ matrix, missing


def spacing(matrix: np.ndarray, size: tuple[int, int]) -> float:
  """Pixels of the image that a step of one pixel in the middle of the grid spans."""
  x, y = (size[1] - 1) / 2 + np.array([0.0, 1, 0]), (size[0] - 1) / 2 + np.array([0.0, 0, 1])
  u, v = transform(matrix, x, y)
  area = (u[1] - u[0]) * (v[2] - v[0]) - (u[2] - u[0]) * (v[1] - v[0])
  return float(np.sqrt(abs(area)))
