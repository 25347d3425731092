"""Pairs that are misaligned by a homography that is known, made of aligned ones."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cfi_jax.images import warp

NOISE = 2.0  # standard deviation, of levels 0 to 255
FINER = 4  # samples of each new pixel along an axis, whose mean it is


@dataclasses.dataclass(frozen=True)
class Strength:
  """Limits of what is drawn: a field of view, its rotation in degrees, offset and corners.

  ratio: width of the infrared field of view over the visible one. offset, corners: shares of the
  visible and the infrared width. size: height and width of the infrared image.
  """

  ratio: tuple[float, float]
  rotation: float
  offset: float
  corners: float
  size: tuple[int, int]


STRENGTHS = {
  "mild": Strength((0.9, 1.1), 2.0, 0.04, 0.0, (240, 320)),
  "strong": Strength((0.6, 1.6), 8.0, 0.10, 0.01, (240, 320)),
  "small": Strength((0.6, 1.6), 8.0, 0.10, 0.01, (120, 160)),
}


@dataclasses.dataclass(frozen=True)
class View:
  """The views of a picture by both cameras.

  crop: rows and columns of the visible one. matrix: from the picture's pixels to those of the
  infrared image, whose height and width are `size`.
  """

  crop: tuple[slice, slice]
  matrix: np.ndarray
  size: tuple[int, int]

  @property
  def crop_size(self) -> tuple[int, int]:
    """Height and width of the visible image."""
    rows, columns = self.crop
    return rows.stop - rows.start, columns.stop - columns.start

  @property
  def truth(self) -> np.ndarray:
    """The homography from visible to infrared pixels."""
    return self.matrix @ warp.shift(self.crop[1].start, self.crop[0].start)

  def render(
    self, visible: np.ndarray, infrared: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """Both images as the cameras see them, float32 of levels 0 to 255, from aligned ones [H, W]."""
    y, x = np.mgrid[: self.size[0] * FINER, : self.size[1] * FINER].astype(np.float64)
    places = ((x - (FINER - 1) / 2) / FINER, (y - (FINER - 1) / 2) / FINER)
    fine = warp.sample(infrared, *warp.transform(np.linalg.inv(self.matrix), *places))
    seen = fine.reshape(self.size[0], FINER, self.size[1], FINER).mean((1, 3))
    seen = np.clip(seen + rng.normal(0, NOISE, seen.shape), 0, 255)
    return visible[self.crop].astype(np.float32), seen.astype(np.float32)


def draw(strength: Strength, size: tuple[int, int], rng: np.random.Generator) -> View:
  """Draws a view of a picture of a size (height, width) in which both cameras fit."""
  height, width = size
  ratio = np.exp(rng.uniform(*np.log(strength.ratio)))
  angle = np.deg2rad(rng.uniform(-strength.rotation, strength.rotation))
  offset = rng.uniform(-strength.offset, strength.offset, 2)
  corners = rng.uniform(-strength.corners, strength.corners, (4, 2))
  turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
  signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
  low, narrow = strength.size
  for share in np.arange(0.98, 0.3, -0.02):
    part = share / max(ratio, 1)
    columns, rows = int(part * width), int(part * height)
    sides = np.array([ratio * columns, ratio * columns * low / narrow])
    for _ in range(20):
      left, top = rng.integers(0, width - columns + 1), rng.integers(0, height - rows + 1)
      centre = np.array([left + columns / 2, top + rows / 2]) + offset * columns
      quad = centre + (signs * sides) @ turn.T + corners * sides[0]
      if quad.min() >= 0 and (quad <= [width - 1, height - 1]).all():
        ends = (signs + 0.5) * [narrow - 1, low - 1]
        crop = (slice(top, top + rows), slice(left, left + columns))
        return View(crop, through(quad, ends), strength.size)
  raise ValueError(f"no view of {strength} fits into {size}")


def through(points: np.ndarray, images: Sequence) -> np.ndarray:
  """The homography that takes four points (x, y) to four others."""
  rows, values = [], []
  for (x, y), (u, v) in zip(points, images, strict=True):
    rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    values += [u, v]
  return np.append(np.linalg.solve(np.array(rows), values), 1.0).reshape(3, 3)


def error(
  matrix: np.ndarray, truth: np.ndarray, size: tuple[int, int], infrared: tuple[int, int]
) -> float:
  """Mean distance in visible pixels of a 17x13 grid from where its true infrared pixels lie.

  size, infrared: height and width of both images; the grid is that in the overlap.
  """
  x, y = np.meshgrid(np.linspace(0, size[1] - 1, 17), np.linspace(0, size[0] - 1, 13))
  u, v = warp.transform(truth, x, y)
  seen = warp.inside(u, v, infrared)
  back = warp.transform(np.linalg.inv(matrix), u[seen], v[seen])
  return float(np.hypot(back[0] - x[seen], back[1] - y[seen]).mean())
