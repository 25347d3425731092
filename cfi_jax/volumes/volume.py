"""A volume, its grid in the patient, and the grids of two volumes compared.

Positions are in millimetres, RAS+: x grows to the patient's right, y to the front, z to the head.
"""

import dataclasses
import importlib
import itertools
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError

CLOSE = 0.02  # of the smallest spacing: grids whose corners are closer are the same
# Directions in which slices, rows and columns of a plane's pictures go: as radiologists see them,
# the patient's right on the left.
PLANES = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
_OF_AXIS = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}


@dataclasses.dataclass(frozen=True)
class Volume:
  """Numbers on a grid.

  values: [I, J, K] of any numeric type, NaN where there is none; or uint8 RGB [I, J, K, 3].
  affine: [4, 4], from indices (i, j, k, 1) to the patient, RAS, millimetres.
  label: its file or folder. unit: "HU" (Hounsfield) or "". window: the values that the file shows
  as black and as white, None where it does not say. inverted: low values are white.
  frame: identifies the coordinate system (DICOM's frame of reference), "" where unknown.
  """

  values: np.ndarray
  affine: np.ndarray
  label: str
  unit: str = ""
  window: tuple[float, float] | None = None
  inverted: bool = False
  frame: str = ""

  @property
  def shape(self) -> tuple[int, int, int]:
    """Size of the grid."""
    first, second, third = self.values.shape[:3]
    return first, second, third

  @property
  def spacing(self) -> np.ndarray:
    """Distance of neighbours along each axis, [3], millimetres."""
    return np.linalg.norm(self.affine[:3, :3], axis=0)

  def describe(self) -> str:
    """Size, spacing and directions of the grid."""
    size, step = "x".join(map(str, self.shape)), "x".join(f"{s:.4g}" for s in self.spacing)
    corner = ", ".join(f"{x:.4g}" for x in self.affine[:3, 3])
    codes = "".join(orientations().aff2axcodes(self.affine))
    return f"{size} voxels of {step} mm, {codes}, from ({corner})"


def orientations() -> Any:
  """The module of nibabel that turns axes."""
  return need("nibabel").orientations


def need(name: str) -> Any:
  """A library of the extra `medical`; InputError, which names that, where it is missing."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise InputError(
      f'{name} is not installed, which reads volumes: pip install "cfi_jax[medical]"'
    ) from error


def turn(values: np.ndarray, affine: np.ndarray, codes: str) -> np.ndarray:
  """The array [I, J, K, ...] with its axes in the directions of codes, such as "SPL"."""
  tools = orientations()
  change = tools.ornt_transform(tools.io_orientation(affine), tools.axcodes2ornt(tuple(codes)))
  return tools.apply_orientation(values, change)


def turn_back(values: np.ndarray, affine: np.ndarray, codes: str) -> np.ndarray:
  """Inverts `turn`."""
  tools = orientations()
  change = tools.ornt_transform(tools.axcodes2ornt(tuple(codes)), tools.io_orientation(affine))
  return tools.apply_orientation(values, change)


def thickest(volume: Volume) -> str:
  """The plane across the axis of the largest spacing, "axial" where several are equal."""
  spacing = volume.spacing
  codes = orientations().aff2axcodes(volume.affine)
  widest = [c for c, s in zip(codes, spacing, strict=True) if s >= spacing.max() * (1 - 1e-3)]
  planes = [_OF_AXIS.get(code, "sagittal") for code in widest]
  return "axial" if "axial" in planes else planes[0]


def bring(other: Volume, reference: Volume, resample: bool) -> np.ndarray:
  """The values of a volume on the grid of another, [I, J, K, ...], NaN where it has none.

  Axes are turned where that makes the grids equal. Raises InputError where they are not, or where
  the coordinate systems differ, unless `resample` asks for linear interpolation.
  """
  if not resample and other.frame and reference.frame and other.frame != reference.frame:
    raise InputError(
      f"{other.label} and {reference.label} have different frames of reference, so their positions "
      "do not compare; register them first, or --resample takes the positions as they are"
    )
  tools = orientations()
  codes = "".join(tools.aff2axcodes(reference.affine))
  turned = turn(other.values, other.affine, codes)
  change = tools.ornt_transform(
    tools.io_orientation(other.affine), tools.io_orientation(reference.affine)
  )
  affine = other.affine @ tools.inv_ornt_aff(change, other.shape)
  if turned.shape[:3] == reference.shape and _apart(affine, reference) <= CLOSE:
    return turned
  if not resample:
    raise InputError(
      f"the grids differ: {reference.label} has {reference.describe()}; {other.label} has "
      f"{other.describe()}; --resample interpolates the second at the voxels of the first"
    )
  return _resampled(other, reference)


def _apart(affine: np.ndarray, reference: Volume) -> float:
  """The largest distance of two grids' corners, in parts of the smallest spacing."""
  ends = [(0, n - 1) for n in reference.shape]
  corners = np.array([(*corner, 1) for corner in itertools.product(*ends)], float).T
  distance = np.linalg.norm(((affine - reference.affine) @ corners)[:3], axis=0)
  return float(distance.max() / reference.spacing.min())


def _resampled(other: Volume, reference: Volume) -> np.ndarray:
  """Linear interpolation; NaN outside of the other volume and beside voxels without a value."""
  from scipy import ndimage  # here, as few need it

  if other.values.ndim == 4:
    raise InputError(f"{other.label} is in colour, which --resample does not interpolate")
  into = np.linalg.inv(other.affine) @ reference.affine
  values = other.values.astype(np.float32)
  # By rounding, borders that both grids share lie outside by a little, where SciPy has no value.
  found = ndimage.affine_transform(
    values, into[:3, :3], into[:3, 3], reference.shape, order=1, mode="nearest"
  )
  places = np.ogrid[tuple(slice(n) for n in reference.shape)]
  for row, length in zip(into[:3], other.shape, strict=True):
    at = row[3] + sum(step * place for step, place in zip(row[:3], places, strict=True))
    found[(at < -CLOSE) | (at > length - 1 + CLOSE)] = np.nan
  return found
