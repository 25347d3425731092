"""DICOM: the images of one series as a volume, in the order of their positions."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.volumes.volume import Volume, need

EXTENSIONS = (".dcm", ".dicom", ".ima")
_MAGIC, _PREAMBLE = b"DICM", 128
EVEN = 0.01  # of the usual distance of slices, by which one may differ
_SAME = 1e-4  # by which directions and spacings of one series may differ
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"


def is_file(path: pathlib.Path) -> bool:
  """Whether a file is DICOM, by its extension or by its content."""
  if path.suffix.lower() in EXTENSIONS:
    return True
  with contextlib.suppress(OSError), storage.peek(path) as file:
    file.seek(_PREAMBLE)
    return file.read(4) == _MAGIC
  return False


@dataclasses.dataclass(frozen=True)
class Plane:
  """One image of a series: a file, or a frame of one.

  position: of its first pixel, direction: of its rows and columns, [3] and [2, 3], LPS.
  spacing: of rows and of columns, millimetres.
  """

  path: pathlib.Path
  frame: int
  position: np.ndarray
  direction: np.ndarray
  spacing: np.ndarray
  header: Any


def read(path: pathlib.Path) -> Volume:
  """Reads the one series of a folder and those below it, or a file of one or many frames.

  Values are those after the modality LUT: Hounsfield units of CT, in float32. Raises InputError for
  several series, images of one place, missing ones, and what is no scan.
  """
  files = [path] if path.is_file() else list(storage.files_below(path))
  headers = [(p, header) for p in files if (header := _header(p)) is not None]
  if not headers:
    raise InputError(f"{path}: there is no DICOM image in it")
  _require_one_series(path, headers)
  planes = [plane for p, header in headers for plane in _planes(p, header)]
  planes, step = _in_order(path, planes)
  header = planes[0].header
  values = np.stack([image.T for image in _images(planes)], -1)  # columns, rows, slices
  affine = np.eye(4)
  affine[:3, 0] = planes[0].direction[0] * planes[0].spacing[1]
  affine[:3, 1] = planes[0].direction[1] * planes[0].spacing[0]
  affine[:3, 2], affine[:3, 3] = step, planes[0].position
  is_ct = header.get("Modality") == "CT"
  return Volume(
    values,
    _LPS_TO_RAS @ affine,
    str(path),
    unit="HU" if is_ct else "",
    window=_window(planes),
    # Hounsfield units say by themselves what is dense, whatever an inverted display shows.
    inverted=header.PhotometricInterpretation == "MONOCHROME1" and not is_ct,
    frame=str(header.get("FrameOfReferenceUID", "")),
  )


def _header(path: pathlib.Path) -> Any | None:
  """All but the pixels of an image; None for other files."""
  library = need("pydicom")
  if not is_file(path):
    return None
  try:
    force = path.suffix.lower() in EXTENSIONS
    header = library.dcmread(storage.local(path), stop_before_pixels=True, force=force)
    if "Rows" not in header:
      _require_other(header)
      return None
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  except StorageError:
    raise
  except Exception as error:
    raise InputError(f"{path}: cannot be read as DICOM ({error})") from error
  kind = header.get("PhotometricInterpretation", "missing")
  if kind not in ("MONOCHROME1", "MONOCHROME2"):
    raise InputError(
      f"{path}: PhotometricInterpretation is {kind}, a picture of a screen or a report, not a "
      "scan; allowed: MONOCHROME1, MONOCHROME2"
    )
  return header


def _require_other(header: Any) -> None:
  """Raises InputError unless a file without a size is a directory, a report or the like."""
  known = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
  name = getattr(known, "name", "")
  if not name or "Image Storage" in name:
    raise InputError(f"is damaged: {name or 'nothing'} without Rows")


def _require_one_series(path: pathlib.Path, headers: Sequence[tuple[pathlib.Path, Any]]) -> None:
  series: dict[str, list[Any]] = {}
  for _, header in headers:
    series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
  if len(series) > 1:
    texts = [
      f"{len(of)} files of {of[0].get('Modality', '?')} {of[0].get('SeriesDescription', '')!s}"
      for of in series.values()
    ]
    raise InputError(
      f"{path}: {len(series)} series ({'; '.join(text.strip() for text in texts[:8])}); put one "
      "into a folder of its own"
    )


def _planes(path: pathlib.Path, header: Any) -> list[Plane]:
  """The images of a file; of several frames, each by its functional groups or by the spacing."""
  count = int(header.get("NumberOfFrames", 1) or 1)
  try:
    planes = [_plane(path, header, frame) for frame in range(count)]
    if count > 1 and _group(header, 1, "PlanePositionSequence") is None:
      normal = np.cross(*planes[0].direction)
      step = float(header.get("SpacingBetweenSlices", 0) or header.SliceThickness)
      planes = [
        dataclasses.replace(p, position=p.position + p.frame * step * normal) for p in planes
      ]
  except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
    raise InputError(f"{path}: does not say where it lies in the patient ({error})") from error
  return planes


def _plane(path: pathlib.Path, header: Any, frame: int) -> Plane:
  position = _group(header, frame, "PlanePositionSequence") or header
  orientation = _group(header, frame, "PlaneOrientationSequence") or header
  measures = _group(header, frame, "PixelMeasuresSequence") or header
  direction = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
  where = np.array(position.ImagePositionPatient, float)
  return Plane(path, frame, where, direction, np.array(measures.PixelSpacing, float), header)


def _group(header: Any, frame: int, name: str) -> Any | None:
  """A functional group of a frame, or of all frames; None without any."""
  own = header.get("PerFrameFunctionalGroupsSequence") or ()
  shared = header.get("SharedFunctionalGroupsSequence") or ()
  for groups in ([own[frame]] if frame < len(own) else [], shared[:1]):
    for group in groups:
      if group.get(name):
        return group[name][0]
  return None


def _in_order(path: pathlib.Path, planes: list[Plane]) -> tuple[list[Plane], np.ndarray]:
  """The images by position along their normal, and the step between two, [3], LPS."""
  first = planes[0]
  size = first.header.Rows, first.header.Columns
  for plane in planes:
    same = np.abs(plane.direction - first.direction).max() < _SAME
    same &= np.abs(plane.spacing - first.spacing).max() < _SAME
    if not same or (plane.header.Rows, plane.header.Columns) != size:
      raise InputError(
        f"{plane.path}: its size, spacing or direction is not that of {first.path.name}; one "
        "series of parallel images is needed"
      )
  normal = np.cross(*first.direction)
  if len(planes) == 1:
    header = first.header
    thickness = header.get("SpacingBetweenSlices", 0) or header.get("SliceThickness", 0) or 1
    return planes, normal * float(thickness)
  planes = sorted(planes, key=lambda plane: float(plane.position @ normal))
  places = np.array([plane.position @ normal for plane in planes])
  distances = np.diff(places)
  usual = float(np.median(distances))
  if not distances.min() > EVEN * usual:
    k = int(distances.argmin())
    raise InputError(
      f"{path}: several images of one place, {planes[k].path.name} and {planes[k + 1].path.name} "
      f"at {places[k]:.6g} mm: several times or echoes? one volume is needed"
    )
  if np.abs(distances - usual).max() > EVEN * usual:
    k = int(np.abs(distances - usual).argmax())
    raise InputError(
      f"{path}: images are {usual:.6g} mm apart, but {planes[k].path.name} and "
      f"{planes[k + 1].path.name} are {distances[k]:.6g} mm apart: is one missing?"
    )
  return planes, (planes[-1].position - planes[0].position) / (len(planes) - 1)


def _images(planes: Sequence[Plane]) -> Iterator[np.ndarray]:
  """The values of the images in order, float32 [rows, columns]."""
  library = need("pydicom")
  modality = need("pydicom.pixels").apply_modality_lut
  open_path, data, stored = None, None, None
  for plane in planes:
    if plane.path != open_path:
      try:
        data = library.dcmread(storage.local(plane.path), force=True)
        stored = np.asarray(data.pixel_array)
      except StorageError:
        raise
      except Exception as error:  # of whichever decoder
        syntax = getattr(plane.header.file_meta.get("TransferSyntaxUID", ""), "name", "unknown")
        raise InputError(
          f"{plane.path}: its pixels cannot be read ({syntax}: {error}); compressed ones need "
          f"decoders: {_DECODERS}"
        ) from error
      open_path = plane.path
    own = stored[plane.frame] if stored.ndim == 3 else stored
    rescale = _group(plane.header, plane.frame, "PixelValueTransformationSequence")
    if rescale is None:
      values = np.asarray(modality(own, data), np.float32)
    else:
      slope, intercept = float(rescale.RescaleSlope), float(rescale.RescaleIntercept)
      values = (own * slope + intercept).astype(np.float32)
    yield _without_padding(values, own, plane.header)


def _without_padding(values: np.ndarray, stored: np.ndarray, header: Any) -> np.ndarray:
  """The values with those of padding, where nothing was scanned, as low as the least other one."""
  padding = header.get("PixelPaddingValue")
  if padding is None:
    return values
  ends = sorted((int(padding), int(header.get("PixelPaddingRangeLimit", padding))))
  inside = (stored < ends[0]) | (stored > ends[1])
  return np.where(inside, values, values[inside].min() if inside.any() else values)


def _window(planes: Sequence[Plane]) -> tuple[float, float] | None:
  """The window of the series, the first where it has several; None where images differ in it."""
  found = set()
  for plane in planes:
    source = _group(plane.header, plane.frame, "FrameVOILUTSequence") or plane.header
    centre, width = source.get("WindowCenter"), source.get("WindowWidth")
    if centre is None or width is None:
      return None
    values = [np.atleast_1d(np.array(x, float))[0] for x in (centre, width)]
    found.add((*values, source.get("VOILUTFunction", "LINEAR")))
  if len(found) != 1:
    return None
  ((centre, width, function),) = found
  if width <= 1:
    return None
  if function == "LINEAR":  # PS3.3 C.11.2.1.2.1: its ends are half a value further in
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
  return centre - width / 2, centre + width / 2
