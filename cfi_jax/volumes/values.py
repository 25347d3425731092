"""Values of volumes as greys in [0, 1]: Hounsfield windows, windows of files, percentiles."""

import dataclasses

import numpy as np

from cfi_jax.images import ranges
from cfi_jax.images.ranges import Range, Rule
from cfi_jax.volumes.volume import Volume

SOFT_TISSUE = (-160.0, 240.0)  # Hounsfield units: centre 40, width 400
PERCENTILES = (0.5, 99.5)  # of the whole volume: those of each slice would flicker from one to next
HOUNSFIELD = (-900.0, 200.0)  # values that reach from below the first to above the second look so


@dataclasses.dataclass(frozen=True)
class Greys:
  """A volume in [0, 1], float32 [I, J, K] or RGB [I, J, K, 3], 0 where it has no value.

  valid: bool [I, J, K] of where it has one; None: everywhere. said: one line on its values.
  """

  values: np.ndarray
  valid: np.ndarray | None
  said: str


def to_greys(volume: Volume, values: np.ndarray, rule: Rule, name: str) -> Greys:
  """Greys of a volume's values by a rule of `images.ranges`.

  values: those of `volume`, or they on another grid. "auto" takes 8 bits and colours as they are,
  else the window that the file names, else soft tissue of Hounsfield units, else the percentiles
  0.5 and 99.5 of the whole volume.
  """
  missing = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
  valid = None if not missing.any() else ~missing
  if values.ndim == 4:
    return Greys(values.astype(np.float32) / 255, valid, f"{name}: colours")
  found, how = _range(volume, rule, name)
  unit = found.to_unit(values, np.dtype(np.float32))
  if volume.inverted:
    unit = np.where(missing, np.float32(0), 1 - unit)
    how += ", MONOCHROME1 inverted"
  unit_name = f" {volume.unit}" if volume.unit else ""
  said = f"{name}: {found.low:.6g}..{found.high:.6g}{unit_name} taken as 0..1 ({how})"
  return Greys(unit, valid, said + _doubt(volume, how, name))


def _range(volume: Volume, rule: Rule, name: str) -> tuple[Range, str]:
  """The range of the values, of the whole volume, and where it comes from."""
  values = volume.values
  if rule.kind in ("full", "window", "bits") or values.dtype == np.uint8:
    kept = Rule("full") if values.dtype == np.uint8 and rule.kind == "auto" else rule
    if kept.kind in ("full", "window", "bits"):
      return kept.find(values, label=f"the {name} volume"), kept.kind
  window, how = volume.window, "the file's window"
  if rule.kind == "percentile":
    window = None
  elif window is None and volume.unit == "HU":
    window, how = SOFT_TISSUE, "soft tissue"
  if window is None:
    present = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    low, high = (float(p) for p in np.percentile(present, PERCENTILES)) if present.size else (0, 1)
    window, how = (low, high if high > low else low + 1), "percentiles of the volume"
  return Range(*window, "window", window), how


def _doubt(volume: Volume, how: str, name: str) -> str:
  """Advice where values look like Hounsfield units though nothing says so."""
  if volume.unit or "percentiles" not in how:
    return ""
  low, high = float(np.nanmin(volume.values)), float(np.nanmax(volume.values))
  if low > HOUNSFIELD[0] or high < HOUNSFIELD[1]:
    return ""
  return f"; they look like Hounsfield units: --normalize={name}:window=-160:240 shows soft tissue"


def to_bytes(values: np.ndarray) -> np.ndarray:
  """Greys as 8 bits."""
  return ranges.to_type(values * 255, np.dtype(np.uint8))
