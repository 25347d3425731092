"""NIfTI files: read to volumes, and written with the affine of one."""

import gzip
import pathlib
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.volumes.volume import Volume, need

EXTENSIONS = (".nii", ".nii.gz")
COLOUR = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
SCANNER = 1  # code of positions in the scanner


def is_name(path: pathlib.Path) -> bool:
  """Whether a file's name is that of a NIfTI file."""
  return path.name.lower().endswith(EXTENSIONS)


def read(path: pathlib.Path) -> Volume:
  """Reads one volume; InputError for what is none, has several, or says not where it lies."""
  library = need("nibabel")
  try:
    image = library.load(storage.local(path))
    values = _values(image)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
  except StorageError:
    raise
  except Exception as error:  # nibabel raises many types on damaged files
    raise InputError(f"{path}: cannot be read as NIfTI ({error})") from error
  header = image.header
  if hasattr(header, "get_sform") and not (header["sform_code"] or header["qform_code"]):
    raise InputError(
      f"{path}: neither sform nor qform says where it lies in the patient (both codes are 0)"
    )
  return Volume(values, np.asarray(image.affine, float), str(path))


def _values(image: Any) -> np.ndarray:
  shape = image.shape
  if any(n != 1 for n in shape[3:]) or len(shape) < 3:
    raise InputError(f"has shape {shape}; allowed: one volume of three axes")
  data = np.asanyarray(image.dataobj)
  data = data.reshape(shape[:3])
  if data.dtype.names is not None:
    if data.dtype.names[:3] != ("R", "G", "B"):
      raise InputError(f"values of type {data.dtype}; allowed: numbers, and RGB")
    return np.stack([data[c] for c in "RGB"], -1)
  if data.dtype.kind not in "uif":
    raise InputError(f"values of type {data.dtype}; allowed: numbers, and RGB")
  data = data.astype(data.dtype.newbyteorder("="))
  if data.dtype.kind == "f":
    data = np.where(np.isfinite(data), data, np.nan)
  return data if data.dtype == np.uint8 else data.astype(np.float32)


def write(path: pathlib.Path, values: np.ndarray, reference: Volume, said: str) -> None:
  """Writes [I, J, K] uint8 or float32, or RGB uint8 [I, J, K, 3], atomically.

  The affine is that of `reference`, slope 1 and intercept 0. said: at most 79 characters.
  """
  library = need("nibabel")
  if values.ndim == 4:
    coloured = np.empty(values.shape[:3], COLOUR)
    for c, name in enumerate("RGB"):
      coloured[name] = values[..., c]
    values = coloured
  image = library.Nifti1Image(values, reference.affine)
  image.set_qform(reference.affine, SCANNER)
  image.set_sform(reference.affine, SCANNER)
  image.header.set_xyzt_units("mm")
  image.header.set_slope_inter(1, 0)
  image.header["descrip"] = said.encode()[:79]
  content = image.to_bytes()
  packed = path.name.lower().endswith(".gz")
  write_atomically(path, gzip.compress(content, 6, mtime=0) if packed else content)
