"""Temperatures: the units that windows are given in, and those of images' values."""

import re

import numpy as np

from cfi_jax.core.types import InputError

# Kelvin are value * factor + offset.
UNITS = {
  "K": (1.0, 0.0),
  "C": (1.0, 273.15),
  "F": (5 / 9, 459.67 * 5 / 9),
  "dK": (0.1, 0.0),  # tenths and hundredths of a kelvin, as cameras write in 16 bits
  "cK": (0.01, 0.0),
}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WARMEST_CELSIUS = 150.0  # a scene's median above it is of kelvin: 150 K are -123 degrees


def split(text: str) -> tuple[float, str]:
  """A number and its unit, "" where it has none; raises ValueError for anything else."""
  match = re.fullmatch(rf"({_NUMBER})({'|'.join(UNITS)})?", text.strip())
  if match is None:
    raise ValueError(text)
  return float(match[1]), match[2] or ""


def to_kelvin(value: float, unit: str) -> float:
  """Kelvin of a value in a unit of `UNITS`."""
  factor, offset = UNITS[unit]
  return value * factor + offset


def from_kelvin(kelvin: float, unit: str) -> float:
  """Value in a unit of `UNITS`."""
  factor, offset = UNITS[unit]
  return (kelvin - offset) / factor


def unit_of(present: np.ndarray, label: str = "") -> str:
  """The unit of an image's values, flat and none of them missing: "K" or "C", by their median.

  Raises InputError, with the label, for integers and fractions, which may be anything.
  """
  way = (
    "say the unit of the values behind the window, as in window=0C:40C:cK "
    f"({', '.join(UNITS)}), or give it in the values themselves, without a unit"
  )
  if present.dtype.kind != "f":
    raise InputError(f"{label}: a window of temperatures, and integers do not say theirs; {way}")
  if present.min() >= 0 and present.max() <= 1:
    raise InputError(f"{label}: a window of temperatures, and values from 0 to 1; {way}")
  return "K" if np.median(present) > _WARMEST_CELSIUS else "C"
