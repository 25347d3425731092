"""Fusing of two volumes, slice by slice, to a volume on the visible one's grid and to pictures."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import ranges
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.systems.files import label, load_fuser
from cfi_jax.volumes import nifti, reading
from cfi_jax.volumes.values import Greys, to_bytes, to_greys
from cfi_jax.volumes.volume import PLANES, Volume, bring, thickest, turn, turn_back

WARNING = "not for diagnosis"
RESULT, SLICES = "fused.nii.gz", "slices"  # in an output folder
# Flags of pictures that mean nothing for volumes, with the values that they have by default.
ELSEWHERE = {
  name: ("", None, False)
  for name in (
    *("visible_valid", "infrared_valid", "visible_prefix", "visible_suffix", "infrared_prefix"),
    *("infrared_suffix", "resize", "align", "infrared_palette", "skip_existing", "process_index"),
    *("process_count", "flir", "sequence", "frames", "offset", "rate", "coordinator"),
    *("array", "join"),
  )
} | {"normalize_over": ("image",), "max_pixels": (images.MAX_PIXELS,)}


def are_volumes(given: Mapping[str, Any]) -> bool:
  """Whether the flags name two volumes; InputError where one of the two is a picture."""
  found = [
    bool(given[name]) and reading.is_volume(storage.path(given[name])) for name in MODALITIES
  ]
  if any(found) and not all(found):
    one = MODALITIES[found.index(True)]
    raise InputError(f"--{one}={given[one]} is a volume and the other is none; both must be")
  for name in ("resample", "slices"):
    if given[name] and not all(found):
      raise InputError(f"--{name} is of volumes (DICOM, NIfTI), which these are not")
  return all(found)


def fuse_volumes(given: Mapping[str, Any]) -> int:
  """Fuses the two volumes that the flags name; returns the exit status."""
  target, extension = _output(given)
  normalizer = ranges.parse(given["normalize"], MODALITIES)
  normalizer = normalizer.with_window("infrared", given["window"])
  visible, infrared = (reading.read(storage.path(given[name])) for name in MODALITIES)
  brought = bring(infrared, visible, given["resample"])
  greys = (
    to_greys(visible, visible.values, normalizer.rule("visible"), "visible"),
    to_greys(infrared, brought, normalizer.rule("infrared"), "infrared"),
  )
  plane = given["slices"] or thickest(visible)
  fuser = load_fuser(given["weights"], dtype=given["dtype"], devices=jax.local_devices())
  fused = fuse_greys(fuser, *greys, visible, plane, given["gray"], given["memory_mb"])
  if visible.values.dtype == np.uint8:
    fused = to_bytes(fused)
  alone = nifti.is_name(target)
  file = target if alone else target / RESULT
  nifti.write(file, fused, visible, f"fused by cfi_jax; {WARNING}")
  print(f"values: {'; '.join(own.said for own in greys)}")
  print(f"grid: {visible.describe()}")
  print(f"fused {plane} slices with {label(given['weights'])}; written to {file}: {WARNING}")
  if not alone:
    write_slices(fused, visible, plane, target / SLICES, extension)
    print(f"pictures of the slices in {target / SLICES}: {WARNING}")
  return 0


def _output(given: Mapping[str, Any]) -> tuple[pathlib.Path, str]:
  """The file or folder to write, and the extension of its pictures; see `fuse_volumes`."""
  for name, usual in ELSEWHERE.items():
    if given[name] not in usual:
      raise InputError(f"--{name}={given[name]} is of pictures; volumes do not take it")
  target = storage.path(given["output"])
  if not nifti.is_name(target) and target.suffix and not target.is_dir():
    raise InputError(
      f"--output={target}; volumes become a folder, or a file {' or '.join(nifti.EXTENSIONS)}"
    )
  for name in MODALITIES:
    if target.resolve().is_relative_to(storage.path(given[name]).resolve()):
      raise InputError(f"--output={target} is the {name} volume itself, or inside it")
  extension = "." + given["format"].lower().lstrip(".")
  pictures.check_extension(extension)
  require_folder(target.parent if nifti.is_name(target) else target)
  return target, extension


def fuse_greys(
  fuser: Fuser,
  visible: Greys,
  infrared: Greys,
  reference: Volume,
  plane: str,
  gray: bool,
  memory_mb: float | None,
) -> np.ndarray:
  """The fused greys, float32 [I, J, K], or RGB where `visible` has colours and not `gray`.

  What is black in both stays black, and where one of them has no value the result is the other.
  plane: of the slices, of `PLANES`; they are computed as they are shown.
  """
  codes = PLANES[plane]

  def slices(values: np.ndarray) -> np.ndarray:
    return turn(values, reference.affine, codes)

  first = slices(_with_channel(visible.values))
  second = slices(images.luma(_with_channel(infrared.values)))
  known = [None if g.valid is None else slices(g.valid[..., None]) for g in (visible, infrared)]
  result = np.empty((*first.shape[:3], 1 if gray else first.shape[-1]), np.float32)
  step = len(fuser.devices)  # one slice per device at once, so that all share one program
  with Progress("fusing", "slice", len(first)) as progress:
    for start in range(0, len(first), step):
      own = slice(start, min(start + step, len(first)))
      fused = fuser.fuse_pairs(
        list(first[own]),
        list(second[own]),
        gray=gray,
        memory_mb=memory_mb,
        normalize="full",
        valid=_masks(known, own) if fuser.takes_valid else None,
      )
      result[own] = np.stack(fused)
      progress.update(own.stop - own.start)
  luma = images.luma(first) if gray else first
  for mask, other in zip(known, (second, luma), strict=True):
    if mask is not None:  # whatever the fuser made of it
      result = np.where(mask, result, other)
  shown = (first > 0).any(-1, keepdims=True) | (second > 0)
  result = turn_back(np.where(shown, result, np.float32(0)), reference.affine, codes)
  return result.squeeze(-1) if result.shape[-1] == 1 else result


def write_slices(
  fused: np.ndarray, reference: Volume, plane: str, folder: pathlib.Path, extension: str
) -> None:
  """Writes pictures of 8 bits of all slices, PLANE_NUMBER, as radiologists see them."""
  values = fused if fused.dtype == np.uint8 else to_bytes(fused)
  found = turn(_with_channel(values), reference.affine, PLANES[plane])
  for number, picture in enumerate(found, 1):
    path = folder / f"{plane}_{number:04d}{extension}"
    pictures.write_image(path, np.ascontiguousarray(picture))


def _with_channel(values: np.ndarray) -> np.ndarray:
  return values if values.ndim == 4 else values[..., None]


def _masks(known: list[np.ndarray | None], own: slice) -> list[dict[str, np.ndarray]] | None:
  """Masks by modality of slices; None where all have values."""
  given = {m: mask[own] for m, mask in zip(MODALITIES, known, strict=True) if mask is not None}
  if not given:
    return None
  count = len(next(iter(given.values())))
  masks = [{m: mask[k] for m, mask in given.items()} for k in range(count)]
  # A mask of nothing is left out, too: there the other image is taken afterwards.
  return [{m: x for m, x in of.items() if x.any() and not x.all()} for of in masks]
