"""Image files by name: records, listings of them, and the stores that open them."""

import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.images.read import EXTENSIONS

_NAMES, _PROBLEMS = 10, 20  # shown of a list in a message


@dataclasses.dataclass(frozen=True, slots=True)
class File:
  """One encoded image: its path relative to the data root, and its size in bytes."""

  path: str
  bytes: int


@dataclasses.dataclass(frozen=True)
class Record:
  """One sample as stored: its name (see `Naming`), and its images' files by image name."""

  name: str
  files: Mapping[str, File]

  @property
  def noun(self) -> str:
    """Name of its kind in messages: "image", "pair", or "set" of three images and more."""
    return ("image", "pair", "set")[min(len(self.files), 3) - 1]


@dataclasses.dataclass(frozen=True)
class Listing:
  """The records of one shipped part of a data set, sorted by name.

  problems: sentences on what is wrong with the files' names; training refuses them.
  strays: relative paths of files that belong to no record and are tolerated.
  notes: sentences on what else was found and does no harm.
  """

  records: tuple[Record, ...]
  problems: tuple[str, ...]
  strays: tuple[str, ...]
  notes: tuple[str, ...] = ()


class Store(Protocol):
  """A place of encoded images: a folder, or the records of a prepared data set."""

  def open(self, path: str) -> BinaryIO:
    """Opens the bytes of `File.path`; raises InputError naming it."""

  def peek(self, path: str) -> BinaryIO:
    """Opens a file of which little will be read."""

  def shard(self, path: str) -> int | None:
    """Returns the number of the shard that holds the file; None where there are no shards."""

  def label(self, path: str) -> str:
    """Names `File.path` in messages."""


@dataclasses.dataclass(frozen=True)
class FolderStore:
  """Image files below a folder, which may be in a bucket."""

  root: str

  def open(self, path: str) -> BinaryIO:
    """Opens the file; raises InputError naming it."""
    return self._opened(storage.open_binary, path)

  def peek(self, path: str) -> BinaryIO:
    """Opens the file, of which little will be read; raises InputError naming it."""
    return self._opened(storage.peek, path)

  def shard(self, path: str) -> None:
    """Returns None: every file is for itself."""
    del path

  def _opened(self, opened: Callable[[str], BinaryIO], path: str) -> BinaryIO:
    try:
      return opened(self.label(path))
    except OSError as error:
      raise InputError(f"{self.label(path)}: {error.strerror or error}") from error

  def label(self, path: str) -> str:
    """Returns the file's full path."""
    return storage.join(self.root, path)


def files_in(
  root: str, folder: str, *, subfolders: bool = True, apart: Collection[str] = ()
) -> tuple[list[File], list[File]]:
  """Lists the files in a folder below `root`: images by their extension, and all others.

  subfolders: whether those in folders below it are listed, too. apart: real paths of folders that
  are left out. A hidden folder is listed as one of the others. Raises InputError when the root is
  not given or the folder is missing, naming what is there, and for folders without permission.
  """
  if not root:
    raise InputError("the data root is empty: set config.data.root to the folder of the dataset")
  directory = storage.join(root, folder)
  if not is_folder(directory):
    raise InputError(f"no folder {folder!r} in data root {root}: {_what_is_there(root)}")
  images, others = [], []
  passed = frozenset((*apart, storage.real(directory)))
  for file in _files_below(directory, folder, subfolders, passed):
    extension = os.path.splitext(file.path)[1].lower()
    is_image = extension in EXTENSIONS and not os.path.basename(file.path).startswith(".")
    (images if is_image else others).append(file)
  return images, others


def _files_below(
  directory: str, path: str, subfolders: bool, passed: frozenset[str]
) -> Iterator[File]:
  """Files in the order of their names; passed: real paths of folders not to be entered."""
  try:
    entries = storage.entries(directory)
  except OSError as error:
    raise InputError(f"{directory}: cannot be listed: {error.strerror or error}") from error
  for entry in entries:
    below = os.path.join(path, entry.name)
    if not entry.is_dir():
      yield File(below, _size(entry))
    elif not subfolders or (real := storage.real(entry.path)) in passed:
      continue
    elif entry.name.startswith("."):
      yield File(below, 0)
    else:
      yield from _files_below(entry.path, below, subfolders, passed | {real})


def _size(entry: os.DirEntry) -> int:
  """Size of a file in bytes; 0 for a link to nowhere."""
  try:
    return entry.stat().st_size
  except OSError:
    return 0


def evenly(count: int, most: int) -> list[int]:
  """At most so many of `count` places, in order, evenly spread from the first to the last."""
  return [round(place) for place in np.linspace(0, count - 1, min(most, count))]


def shorten(names: Iterable[str]) -> str:
  """Joins the first names by commas, and says how many more there are."""
  names = list(names)
  more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
  return ", ".join(names[:_NAMES]) + more


def enumerate_problems(title: str, problems: Sequence[str]) -> str:
  """Puts the title and the first problems on lines, and says how many more there are."""
  more = [f"... and {len(problems) - _PROBLEMS} more"] if len(problems) > _PROBLEMS else []
  return "\n  ".join([title, *problems[:_PROBLEMS], *more])


def require(listings: Mapping[str, Listing], title: str) -> None:
  """Raises InputError with every problem of the listings, or when one holds no record."""
  problems = [problem for listing in listings.values() for problem in listing.problems]
  empty = [part for part, listing in listings.items() if not listing.records]
  problems += [f"no pair of equally named images in {part}" for part in empty]
  if problems:
    raise InputError("\n  ".join([f"{title}: the images cannot be paired", *problems]))


def is_folder(directory: str) -> bool:
  """Whether there is a folder; raises InputError where a bucket does not answer."""
  try:
    return bool(directory) and storage.path(directory).is_dir()
  except OSError as error:
    raise InputError(f"{directory}: cannot be listed: {error.strerror or error}") from error


def _what_is_there(root: str) -> str:
  if not is_folder(root):
    return "the root is a file" if storage.path(root).exists() else "the root does not exist"
  names = [entry.name for entry in storage.entries(root)]
  return f"it holds {shorten(names)}" if names else "it is empty"
