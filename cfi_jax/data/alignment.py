"""Which images are scored: pairs that every folder holds, under one name and in one size."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import files_in
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import read as images

_SHOWN = 20
_LONGEST = 400  # characters


@dataclasses.dataclass(frozen=True)
class Scene:
  """One pair that every method has fused; paths by folder ("visible", "infrared", methods)."""

  name: str
  size: tuple[int, int]
  paths: Mapping[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Alignment:
  """The scenes to score, sorted by name, and sentences about every file that was left out."""

  scenes: tuple[Scene, ...]
  notes: tuple[str, ...]


def align(folders: Mapping[str, pathlib.Path]) -> Alignment:
  """Matches the images of folders by file stem; extensions may differ.

  Args:
    folders: "visible", "infrared" and one per method.

  Raises:
    InputError: a folder is missing or empty, holds two images of one stem or a file that cannot be
      read, or no name is present everywhere in one size.
  """
  files = {label: _images(label, folder) for label, folder in folders.items()}
  paired = set(files[MODALITIES[0]]) & set(files[MODALITIES[1]])
  shared = sorted(set.intersection(*(set(found) for found in files.values())))
  notes = []
  for label, found in files.items():
    missing = sorted(paired - set(found))
    extra = sorted(set(found) - paired)
    where = f"{label} ({folders[label]})"
    if missing:
      notes.append(f"{where} lacks {len(missing)} of {len(paired)} pairs: {', '.join(missing)}")
    if extra:
      names = ", ".join(extra)
      notes.append(f"{where} has {len(extra)} images that belong to no pair: {names}")
  scenes, differing = _of_one_size(files, shared)
  if differing:
    notes.append(f"{len(differing)} pairs left out, sizes differ: {', '.join(differing)}")
  if not scenes:
    counts = ", ".join(f"{label}: {len(found)}" for label, found in files.items())
    raise InputError(
      "\n  ".join(
        [f"no image is present in all folders in one size ({counts} images)", *map(cut, notes)]
      )
    )
  return Alignment(tuple(scenes), tuple(notes))


def cut(note: str) -> str:
  """A note of bearable length for a terminal."""
  return note if len(note) <= _LONGEST else f"{note[:_LONGEST]} ..."


def read(path: pathlib.Path) -> np.ndarray:
  """uint8 [H, W, 1] or [H, W, 3] of an 8-bit file; alpha is dropped."""
  image = images.read_image(path)
  if image.dtype != np.uint8:
    raise InputError(f"{path}: 16 bits per channel; metrics are defined on 8-bit files")
  return image[..., :3]


def _images(label: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Image files by stem."""
  if not folder.is_dir():
    what = "is not a folder" if folder.exists() else "does not exist"
    raise InputError(f"{label}: {folder} {what}")
  found: dict[str, pathlib.Path] = {}
  for file in files_in(os.fspath(folder), "")[0]:
    path = folder / file.path
    if path.stem in found:
      raise InputError(f"{label}: two images of one name: {found[path.stem]} and {path}")
    found[path.stem] = path
  if not found:
    raise InputError(f"{label}: no image in {folder} (looked for {', '.join(images.EXTENSIONS)})")
  return found


def _of_one_size(
  files: Mapping[str, Mapping[str, pathlib.Path]], names: list[str]
) -> tuple[list[Scene], list[str]]:
  """Scenes of the names whose images agree in size, and a description of each that does not."""
  jobs = [(name, label) for name in names for label in files]
  with ThreadPoolExecutor() as pool:
    results = pool.map(lambda job: _size(files[job[1]][job[0]]), jobs)
    bar = tqdm(results, "checking files", len(jobs), unit="file", delay=2, disable=None)
    sizes = dict(zip(jobs, bar, strict=True))
  broken = [str(size) for size in sizes.values() if isinstance(size, InputError)]
  if broken:
    more = [f"... and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
    raise InputError("\n  ".join([f"{len(broken)} images cannot be read", *broken[:_SHOWN], *more]))
  scenes, differing = [], []
  for name in names:
    found = {label: sizes[name, label] for label in files}
    if len(set(found.values())) == 1:
      paths = {label: files[label][name] for label in files}
      scenes.append(Scene(name, found[MODALITIES[0]], paths))
    else:
      each = ", ".join(f"{label} {height}x{width}" for label, (height, width) in found.items())
      differing.append(f"{name} ({each})")
  return scenes, differing


def _size(path: pathlib.Path) -> tuple[int, int] | InputError:
  try:
    with open(path, "rb") as file:
      return images.inspect(file, os.fspath(path))
  except OSError as error:
    return InputError(f"{path}: {error.strerror or error}")
  except InputError as error:
    return error
