"""Volumes by their path: a NIfTI file, a DICOM file, or a folder with one DICOM series."""

import itertools
import pathlib

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.images import read as images
from cfi_jax.volumes import dicom, nifti
from cfi_jax.volumes.volume import Volume

LOOKED_AT = 32  # files of a folder, none of which is a picture, before it is taken for no series


def is_volume(path: pathlib.Path) -> bool:
  """Whether a path is that of a volume: by a file's name or content, a folder by its files.

  Files of a folder may lie below it at any depth, as scanners export them.
  """
  if path.is_dir():
    files = storage.files_below(path)
    pictures = (*images.EXTENSIONS, *nifti.EXTENSIONS, ".gz")
    others = (p for p in files if p.suffix.lower() not in pictures)
    return any(dicom.is_file(p) for p in itertools.islice(others, LOOKED_AT))
  return nifti.is_name(path) or (path.suffix.lower() not in images.EXTENSIONS and _exists(path))


def _exists(path: pathlib.Path) -> bool:
  return path.is_file() and dicom.is_file(path)


def read(path: pathlib.Path) -> Volume:
  """Reads a volume; raises InputError, naming the file, for what is none."""
  if not path.exists():
    raise InputError(f"{path}: does not exist")
  if path.is_file() and nifti.is_name(path):
    return nifti.read(path)
  return dicom.read(path)
