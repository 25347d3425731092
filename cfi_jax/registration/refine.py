"""Refinement of a homography: Gauss-Newton on the correlation of edges, for all pairs of a rig."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cfi_jax.images import warp
from cfi_jax.registration import features

STEPS = 12
BORDER = 2  # pixels at the border of the overlap, whose features know what lies outside
LEAST = 200  # pixels of overlap
PARAMETERS = {"similarity": 4, "affine": 6, "homography": 8}


@dataclasses.dataclass(frozen=True)
class Fit:
  """A homography from visible to infrared pixels, and the correlation of the edges under it."""

  matrix: np.ndarray
  ncc: float


@dataclasses.dataclass(frozen=True)
class Level:
  """Pairs at one resolution.

  visible: features [P, 3, H, W]. shrink: from visible pixels to these.
  """

  visible: np.ndarray
  shrink: np.ndarray
  infrareds: Sequence[np.ndarray]

  @classmethod
  def make(
    cls, visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray], width: int
  ) -> "Level":
    """Shrinks the visible images, float32 [H, W] of one size, to a width."""
    small = [features.at_width(image, width) for image in visibles]
    return cls(features.edges(np.stack([s for s, _ in small])), small[0][1], infrareds)

  @property
  def size(self) -> tuple[int, int]:
    """Height and width."""
    return self.visible.shape[-2:]

  def infrared(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The infrared images' features [P, 3, H, W] on this grid, and the overlap [H, W]."""
    inner = matrix @ np.linalg.inv(self.shrink)
    images, shrunk = _as_fine(self.infrareds, warp.spacing(inner, self.size))
    y, x = np.mgrid[: self.size[0], : self.size[1]].astype(np.float64)
    x, y = warp.transform(shrunk @ inner, x, y)
    return features.edges(warp.sample(images, x, y)), _eroded(warp.inside(x, y, images.shape[-2:]))


def _as_fine(images: Sequence[np.ndarray], spacing: float) -> tuple[np.ndarray, np.ndarray]:
  """Images shrunk where a grid steps over several pixels, stacked, and the way to their pixels."""
  size = images[0].shape
  factor = max(1.0, min(spacing, min(size) / 8)) if np.isfinite(spacing) else 1.0
  if factor < 1.3:
    return np.stack(images), np.eye(3)
  new = (max(8, round(size[0] / factor)), max(8, round(size[1] / factor)))
  return np.stack([warp.resize(image, new) for image in images]), warp.scaling(size, new)


def _eroded(mask: np.ndarray) -> np.ndarray:
  for axis in (0, 1):
    padded = np.pad(mask, [(BORDER, BORDER) if a == axis else (0, 0) for a in (0, 1)])
    parts = [np.take(padded, np.arange(mask.shape[axis]) + k, axis) for k in range(2 * BORDER + 1)]
    mask = np.logical_and.reduce(parts)
  return mask


@dataclasses.dataclass(frozen=True)
class _State:
  """Correlation under a homography, and the normal equations of a step from it."""

  ncc: float
  normal: np.ndarray
  slope: np.ndarray


def correlations(level: Level, matrix: np.ndarray) -> np.ndarray:
  """Each pair's own correlation of edges under a homography, [P]; -1 where they do not overlap."""
  infrared, mask = level.infrared(matrix)
  if mask.sum() < LEAST:
    return np.full(len(infrared), -1.0)
  first, second = _inner(level.visible, mask), _inner(infrared, mask)
  products = [(a * b).sum((1, 2)) for a, b in ((first, second), (first, first), (second, second))]
  return products[0] / np.sqrt(products[1] * products[2] + 1e-6)


def _inner(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Maps [P, 3, H, W] inside a mask, less their means, as [P, 3, N]."""
  values = maps[..., mask]
  return values - values.mean(-1, keepdims=True)


def refine(level: Level, matrix: np.ndarray, model: str) -> Fit:
  """Climbs to a maximum of the correlation by damped Gauss-Newton steps of a model.

  model: of `PARAMETERS`, what a step may change. Every step is one of the visible image's grid,
  H <- H D. Returns the best that was found, at least the beginning.
  """
  height, width = level.size
  # Coordinates of the level in [-1, 1] across, so that all parameters are of one size.
  unit = np.array([[2 / width, 0, -1], [0, 2 / width, -height / width], [0, 0, 1]]) @ level.shrink
  damping, best, best_matrix = 1e-3, None, matrix
  for _ in range(STEPS):
    state = _linearise(level, matrix, model)
    if state is None or (best is not None and state.ncc < best.ncc - 1e-5):
      damping *= 8
      if best is None or damping > 10:
        break
    else:
      gain = np.inf if best is None else state.ncc - best.ncc
      best, best_matrix = state, matrix
      damping = max(damping / 4, 1e-4)
      if gain < 1e-5:
        break
    normal = best.normal + damping * np.diag(np.diag(best.normal))
    try:
      step = np.linalg.solve(normal, best.slope)
    except np.linalg.LinAlgError:
      break
    matrix = best_matrix @ np.linalg.inv(unit) @ _change(step, model) @ unit
    matrix = matrix / matrix[2, 2]
  return Fit(best_matrix, -1.0 if best is None else best.ncc)


def _change(step: np.ndarray, model: str) -> np.ndarray:
  """The homography of a step's parameters."""
  if model == "similarity":
    a, b, x, y = step
    return np.array([[1 + a, -b, x], [b, 1 + a, y], [0, 0, 1]])
  *affine, p, q = [*step, 0.0, 0.0] if model == "affine" else step
  a, b, x, c, d, y = affine
  return np.array([[1 + a, b, x], [c, 1 + d, y], [p, q, 1]])


def _linearise(level: Level, matrix: np.ndarray, model: str) -> _State | None:
  """The correlation and its normal equations; None where too little overlaps."""
  infrared, mask = level.infrared(matrix)
  if mask.sum() < LEAST:
    return None
  across = np.gradient(infrared, axis=-1)[..., mask]
  down = np.gradient(infrared, axis=-2)[..., mask]
  first, second = _inner(level.visible, mask), _inner(infrared, mask)
  norms = [np.sqrt(np.square(part).sum()) + 1e-6 for part in (first, second)]
  ncc = float((first * second).sum() / (norms[0] * norms[1]))
  rest = first / norms[0] - second / norms[1]
  across, down = across / norms[1], down / norms[1]

  def total(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("pcn,pcn->n", a, b).astype(np.float64)

  height, width = level.size
  y, x = np.nonzero(mask)
  moves_x, moves_y = _moves(2 * x / width - 1, 2 * y / width - height / width, model)
  moves_x, moves_y = moves_x * (width / 2), moves_y * (width / 2)
  both = total(across, down)
  # Not by BLAS, whose threads wait for each other where the cores are shared.
  normal = np.einsum("an,bn->ab", moves_x, moves_x * total(across, across) + moves_y * both)
  normal += np.einsum("an,bn->ab", moves_y, moves_x * both + moves_y * total(down, down))
  slope = np.einsum("an,n->a", moves_x, total(across, rest))
  slope += np.einsum("an,n->a", moves_y, total(down, rest))
  return _State(ncc, normal, slope)


def _moves(x: np.ndarray, y: np.ndarray, model: str) -> tuple[np.ndarray, np.ndarray]:
  """Derivatives [parameters, N] of the places (x, y) by the parameters of a step, at none."""
  one, zero = np.ones_like(x), np.zeros_like(x)
  if model == "similarity":
    return np.stack([x, -y, one, zero]), np.stack([y, x, zero, one])
  first, second = [x, y, one, zero, zero, zero], [zero, zero, zero, x, y, one]
  if model == "homography":
    first, second = [*first, -x * x, -x * y], [*second, -x * y, -y * y]
  return np.stack(first), np.stack(second)
