"""Images to score: scenes that every folder holds, under one name and in one size."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore, enumerate_problems
from cfi_jax.data.matching import PLAIN, Found, advice, find, no_image, strays, unread, unreadable
from cfi_jax.data.naming import Naming
from cfi_jax.data.threads import each
from cfi_jax.images import ranges
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


def align(folders: Mapping[str, pathlib.Path], naming: Naming = PLAIN) -> Alignment:
  """Matches the images of folders, and of folders below them, by name; extensions may differ.

  Args:
    folders: two folders of source images, which make the pairs, then one per method.
    naming: the rule of names; a scene has the name of its file in the first folder.

  Raises:
    InputError: a folder is missing or empty, holds two images of one name or a file that cannot be
      read, or no name is present everywhere in one size.
  """
  found = _find(folders, naming)
  here, there, *_ = found
  paired = set(found[here].images) & set(found[there].images)
  notes = []
  for label, one in found.items():
    missing = sorted(found[here].names[key] for key in paired - set(one.images))
    extra = sorted(one.names[key] for key in set(one.images) - paired)
    where = f"{label} ({folders[label]})"
    if missing:
      notes.append(f"{where} lacks {len(missing)} of {len(paired)} pairs: {', '.join(missing)}")
    if extra:
      notes.append(f"{where} has {len(extra)} images that belong to no pair: {', '.join(extra)}")
  way = advice(here, there, found, naming)
  notes += [way] if way else []
  notes += unreadable(list(found.values()))
  left_out = unread(strays(list(found.values())))
  if left_out:
    notes.append(f"{len(left_out)} other files are left out: {', '.join(left_out)}")
  scenes, differing, wide = _of_one_size(found)
  if differing:
    notes.append(f"{len(differing)} pairs left out, sizes differ: {', '.join(differing)}")
  if wide:
    notes.append(f"{len(wide)} files hold 16 bits per channel, scored as round(value / 257)")
  if narrow := [str(path) for path in each(_if_narrow, wide, "reading 16 bits", "file") if path]:
    notes.append(
      f"{len(narrow)} of them use so little of it, as raw counts do, that next to nothing is left "
      f"to score; save them stretched to 8 bits first: {', '.join(narrow)}"
    )
  if not scenes:
    counts = ", ".join(f"{label}: {len(one.images)}" for label, one in found.items())
    title = f"no image is present in all folders in one size ({counts} images)"
    raise InputError("\n  ".join([title, *map(cut, notes)]))
  return Alignment(tuple(scenes), tuple(notes))


def cut(note: str) -> str:
  """Shortens a note for a terminal."""
  return note if len(note) <= _LONGEST else f"{note[:_LONGEST]} ..."


def read(path: pathlib.Path) -> np.ndarray:
  """Reads a file as uint8 [H, W, 1] or [H, W, 3]; alpha is dropped, 16 bits become 8."""
  return eight_bits(images.read_image(path), str(path))[..., :3]


def eight_bits(image: np.ndarray, label: str) -> np.ndarray:
  """uint8 of uint8, or of uint16 as round(value / 257), which maps 0 to 0 and 65535 to 255.

  Raises InputError, which `label` begins, for other types, which have no largest value to map.
  """
  if image.dtype == np.uint8:
    return image
  if image.dtype != np.uint16:
    raise InputError(f"{label}: values are {image.dtype}; metrics take 8 or 16 bits per channel")
  return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _find(folders: Mapping[str, pathlib.Path], naming: Naming) -> dict[str, Found]:
  """Finds the images of every folder, of which none may be empty."""
  for label, folder in folders.items():
    if not folder.is_dir():
      what = "is not a folder" if folder.exists() else "does not exist"
      raise InputError(f"{label}: {folder} {what}")
  found = find(os.sep, {label: os.fspath(f.absolute()) for label, f in folders.items()}, naming)
  for label, one in found.items():
    if one.problems:
      raise InputError(f"{label}: {one.problems[0]}")
    if not one.images:
      raise InputError(f"{label}: {no_image(str(folders[label]), [one], naming, [label])}")
  return found


def _of_one_size(
  found: Mapping[str, Found],
) -> tuple[list[Scene], list[str], list[pathlib.Path]]:
  """Returns scenes of one size, a description of those whose images differ, and 16-bit files."""
  first, *_ = found.values()
  keys = sorted(set.intersection(*(set(one.images) for one in found.values())))
  jobs = [(key, label) for key in keys for label in found]
  paths = {(key, label): storage.path(os.sep, found[label].images[key].path) for key, label in jobs}
  headers = each(lambda job: _header(paths[job]), jobs, "checking files", "file")
  broken = [str(header) for header in headers if isinstance(header, InputError)]
  if broken:
    raise InputError(enumerate_problems(f"{len(broken)} images cannot be read", broken))
  known = dict(zip(jobs, headers, strict=True))
  scenes, differing = [], []
  for key in keys:
    own = {label: (known[key, label].height, known[key, label].width) for label in found}
    if len(set(own.values())) == 1:
      size = next(iter(own.values()))
      scenes.append(Scene(first.names[key], size, {label: paths[key, label] for label in found}))
    else:
      described = ", ".join(f"{label} {height}x{width}" for label, (height, width) in own.items())
      differing.append(f"{first.names[key]} ({described})")
  wide = [paths[job] for job in jobs if known[job].depth != np.uint8]
  return scenes, differing, wide


def _header(path: pathlib.Path) -> images.Header | InputError:
  try:
    with FolderStore("").peek(os.fspath(path)) as file:
      header = images.read_header(file, os.fspath(path))
    eight_bits(np.zeros((1, 1, 1), header.depth), os.fspath(path))  # refused before any is scored
  except InputError as error:
    return error
  return header


def _if_narrow(path: pathlib.Path) -> pathlib.Path | None:
  """Returns the path of a file of 16 bits that fusing would stretch, None for others."""
  luma = images.luma(images.read_image(path))
  found = ranges.Rule().find(luma)
  return None if found.how == "full" or found.used[0] == found.used[1] else path
