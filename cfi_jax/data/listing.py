"""Pairs of image files, matched by name."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from cfi_jax.core.types import InputError
from cfi_jax.images.read import EXTENSIONS

_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class File:
  """One encoded image: its path relative to the data root, and its size in bytes."""

  path: str
  bytes: int


@dataclasses.dataclass(frozen=True)
class Record:
  """One pair as stored; `name` is the file stem that both images share."""

  name: str
  visible: File
  infrared: File


@dataclasses.dataclass(frozen=True)
class Listing:
  """The pairs of one shipped part of a dataset, sorted by name.

  problems: what is wrong with the files' names, as sentences; training refuses them.
  strays: relative paths of files that belong to no pair and are tolerated.
  """

  records: tuple[Record, ...]
  problems: tuple[str, ...]
  strays: tuple[str, ...]


class Store(Protocol):
  """Where encoded images lie: a folder, or the records of a prepared dataset."""

  def open(self, path: str) -> BinaryIO:
    """Opens the bytes of `File.path`; raises InputError naming it."""

  def label(self, path: str) -> str:
    """How messages name `File.path`."""


@dataclasses.dataclass(frozen=True)
class FolderStore:
  """Image files below a folder."""

  root: str

  def open(self, path: str) -> BinaryIO:
    """Opens the file; raises InputError naming it."""
    try:
      return open(self.label(path), "rb")
    except OSError as error:
      raise InputError(f"{self.label(path)}: {error.strerror or error}") from error

  def label(self, path: str) -> str:
    """The file's full path."""
    return os.path.join(self.root, path)


def pair_folders(root: str, visible: str, infrared: str) -> Listing:
  """Pairs the images of two folders below `root` by file stem; extensions may differ.

  Raises InputError for a missing root or folder and when neither folder holds an image; names
  without a partner or with two files are returned as problems, other files as strays.
  """
  if visible == infrared:
    raise InputError(f"visible and infrared are the same folder, {visible!r}")
  found: dict[str, dict[str, File]] = {}
  problems: list[str] = []
  strays: list[str] = []
  for folder in (visible, infrared):
    files, others = files_in(root, folder)
    found[folder], doubles = _by_stem(files)
    problems += doubles
    strays += [file.path for file in others]
  if not found[visible] and not found[infrared]:
    raise InputError(
      f"no image in {os.path.join(root, visible)} nor in {os.path.join(root, infrared)} "
      f"(looked for {', '.join(EXTENSIONS)})"
    )
  for here, there in ((visible, infrared), (infrared, visible)):
    alone = sorted(set(found[here]) - set(found[there]))
    if alone:
      problems.append(
        f"{len(alone)} of {len(found[here])} images in {os.path.join(root, here)} have no partner "
        f"of the same name in {there}: {shorten(alone)}"
      )
  names = sorted(set(found[visible]) & set(found[infrared]))
  records = tuple(Record(name, found[visible][name], found[infrared][name]) for name in names)
  return Listing(records, tuple(problems), tuple(sorted(strays)))


def files_in(root: str, folder: str) -> tuple[list[File], list[File]]:
  """The files directly in a folder below `root`: images by their extension, and all others.

  Raises InputError when the root is not given or the folder is missing, naming what is there.
  """
  if not root:
    raise InputError("the data root is empty: set config.data.root to the folder of the dataset")
  directory = Path(root, folder)
  if not directory.is_dir():
    raise InputError(f"no folder {folder!r} in data root {root}: {_what_is_there(root)}")
  images, others = [], []
  for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
    if entry.is_dir():
      continue
    size = entry.stat().st_size if os.path.exists(entry.path) else 0  # 0: a link to nowhere
    is_image = Path(entry.name).suffix.lower() in EXTENSIONS and not entry.name.startswith(".")
    (images if is_image else others).append(File(os.path.join(folder, entry.name), size))
  return images, others


def shorten(names: Iterable[str]) -> str:
  """The first names, comma separated, and how many more there are."""
  names = list(names)
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more


def require(listings: Mapping[str, Listing], title: str) -> None:
  """Raises InputError with every problem of the listings, or when one holds no pair."""
  problems = [problem for listing in listings.values() for problem in listing.problems]
  empty = [part for part, listing in listings.items() if not listing.records]
  problems += [f"no pair of equally named images in {part}" for part in empty]
  if problems:
    raise InputError("\n  ".join([f"{title}: the images cannot be paired", *problems]))


def _by_stem(files: Iterable[File]) -> tuple[dict[str, File], list[str]]:
  found: dict[str, File] = {}
  problems = []
  for file in files:
    stem = Path(file.path).stem
    if stem in found:
      problems.append(f"two images of one name: {found[stem].path} and {file.path}")
    else:
      found[stem] = file
  return found, problems


def _what_is_there(root: str) -> str:
  if not os.path.isdir(root):
    return "the root is a file" if os.path.exists(root) else "the root does not exist"
  entries = sorted(os.listdir(root))
  return f"it holds {shorten(entries)}" if entries else "it is empty"
