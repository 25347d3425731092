"""Images to score: scenes that every folder holds, under one name and in one size."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore, enumerate_problems, files_in
from cfi_jax.data.matching import by_stem
from cfi_jax.data.threads import each
from cfi_jax.images import read as images

_LONGEST = 400  # characters


@dataclasses.dataclass(frozen=True)
class Scene:
  """One scene that every method has fused: its size (height, width) and paths by folder name."""

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
    folders: two folders of source images, which make the pairs, then one per method.

  Raises:
    InputError: a folder is missing or empty, holds two images of one stem or a file that cannot be
      read, or no name is present everywhere in one size.
  """
  files = {label: _images(label, folder) for label, folder in folders.items()}
  first, second, *_ = files.values()
  paired = set(first) & set(second)
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
  scenes, differing = _of_one_size(files, sorted(set.intersection(*map(set, files.values()))))
  if differing:
    notes.append(f"{len(differing)} pairs left out, sizes differ: {', '.join(differing)}")
  if not scenes:
    counts = ", ".join(f"{label}: {len(found)}" for label, found in files.items())
    title = f"no image is present in all folders in one size ({counts} images)"
    raise InputError("\n  ".join([title, *map(cut, notes)]))
  return Alignment(tuple(scenes), tuple(notes))


def cut(note: str) -> str:
  """Shortens a note for a terminal."""
  return note if len(note) <= _LONGEST else f"{note[:_LONGEST]} ..."


def read(path: pathlib.Path) -> np.ndarray:
  """Reads an 8-bit file as uint8 [H, W, 1] or [H, W, 3]; alpha is dropped."""
  image = images.read_image(path)
  if image.dtype != np.uint8:
    raise InputError(f"{path}: 16 bits per channel; metrics are defined on 8-bit files")
  return image[..., :3]


def _images(label: str, folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """Lists image files by stem."""
  if not folder.is_dir():
    what = "is not a folder" if folder.exists() else "does not exist"
    raise InputError(f"{label}: {folder} {what}")
  found, problems = by_stem(files_in(os.fspath(folder), "")[0])
  if problems:
    raise InputError(f"{label}: {problems[0]} in {folder}")
  if not found:
    raise InputError(f"{label}: no image in {folder} (looked for {', '.join(images.EXTENSIONS)})")
  return {stem: folder / file.path for stem, file in found.items()}


def _of_one_size(
  files: Mapping[str, Mapping[str, pathlib.Path]], names: list[str]
) -> tuple[list[Scene], list[str]]:
  """Returns scenes of the names whose images agree in size, and describes each that does not."""
  jobs = [(name, label) for name in names for label in files]
  found = each(lambda job: _size(files[job[1]][job[0]]), jobs, "checking files", "file")
  broken = [str(size) for size in found if isinstance(size, InputError)]
  if broken:
    raise InputError(enumerate_problems(f"{len(broken)} images cannot be read", broken))
  sizes = dict(zip(jobs, found, strict=True))
  scenes, differing = [], []
  for name in names:
    own = {label: sizes[name, label] for label in files}
    if len(set(own.values())) == 1:
      paths = {label: files[label][name] for label in files}
      scenes.append(Scene(name, next(iter(own.values())), paths))
    else:
      described = ", ".join(f"{label} {height}x{width}" for label, (height, width) in own.items())
      differing.append(f"{name} ({described})")
  return scenes, differing


def _size(path: pathlib.Path) -> tuple[int, int] | InputError:
  try:
    with FolderStore("").open(os.fspath(path)) as file:
      return images.inspect(file, os.fspath(path))
  except InputError as error:
    return error
