"""Listings of buckets, which are kept: what a command reads is listed once."""

import dataclasses
import errno
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from cfi_jax.core.storage.pages import Stat, objects
from cfi_jax.core.storage.requests import check, is_remote
from cfi_jax.core.types import InputError

# The objects of a folder and the folders in it, by name.
Tree = dict[str, "Stat | Tree"]


@dataclasses.dataclass(slots=True)
class Entry:
  """A file or a folder in a listing, as `os.DirEntry` has it."""

  name: str
  path: str
  found: "Stat | Tree"

  def is_dir(self) -> bool:
    """Whether it is a folder."""
    return isinstance(self.found, dict)

  def stat(self) -> Stat:
    """Size, time and tag of a file."""
    if isinstance(self.found, dict):
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
    return self.found


_listings: dict[str, Tree] = {}  # by the folder that was listed, with all that is below it
_listing = threading.RLock()


def entries(directory: str) -> list[Any]:
  """The entries of a folder in the order of their names; of a bucket `Entry`, else `os.DirEntry`.

  All that is below a folder of a bucket is listed at once, and kept (see `forget`). Raises
  InputError for an object there whose name no path has.
  """
  if not is_remote(directory):
    return sorted(os.scandir(directory), key=lambda entry: entry.name)
  check(directory)
  found = _listed(directory, list_now=True)
  if not isinstance(found, dict):
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
  strange = [name for name in found if "?" in name or name in ("", ".", "..")]
  if strange:
    raise InputError(
      f"{directory}: holds {strange[0]!r}; allowed: names without a question mark, which begins "
      "the query of a URL, and without empty parts, '.' or '..' between slashes"
    )
  return [Entry(n, f"{directory.rstrip('/')}/{n}", found[n]) for n in sorted(found)]


def size(entry: Any) -> int:
  """The size of an entry in bytes; 0 of a link to nowhere."""
  return entry.stat().st_size if isinstance(entry, Entry) or os.path.exists(entry.path) else 0


def entry(place: str) -> Entry | None:
  """The entry of an object in the listings that are kept; None where none has it."""
  found = _listed(place, list_now=False)
  return None if found is None else Entry(place.rsplit("/", 1)[-1], place, found)


def forget(url: str) -> None:
  """Drops the listings of a path and of the folders that it is in: the next look lists anew."""
  with _listing:
    for folder in _upwards(url):
      _listings.pop(folder, None)


def listings() -> dict[str, list[tuple[str, int, float, str, str]]]:
  """The listings that are kept, as plain values for another process; see `take_listings`."""

  def flat(folder: Tree, prefix: str) -> Iterator[tuple[str, int, float, str, str]]:
    for name, found in folder.items():
      if isinstance(found, dict):
        yield from flat(found, f"{prefix}{name}/")
      else:
        yield prefix + name, *dataclasses.astuple(found)

  with _listing:
    return {name: list(flat(folder, "")) for name, folder in _listings.items()}


def take_listings(found: dict[str, list[Any]]) -> None:
  """Keeps the listings of another process in place of listing oneself."""
  with _listing:
    for name, files in found.items():
      _listings[name] = _tree(((key, Stat(*values)) for key, *values in files))


def _listed(url: str, list_now: bool) -> "Stat | Tree | None":
  """A path in a listing of it or of a folder that it is in."""
  url = url.rstrip("/")
  with _listing:
    for folder in _upwards(url):
      if (found := _listings.get(folder)) is not None:
        return _below(found, [name for name in url.removeprefix(folder).split("/") if name])
    if not list_now:
      return None
    _listings[url] = _tree(objects(url))
    return _listings[url]


def _upwards(url: str) -> Iterator[str]:
  """A path and the folders that it is in, up to the bucket."""
  url, least = url.rstrip("/"), url.index("://") + 3
  while len(url) > least:
    yield url
    url = url.rpartition("/")[0]


def _tree(files: Iterable[tuple[str, Stat]]) -> Tree:
  top: Tree = {}
  for key, found in files:
    *folders, name = key.split("/")
    at = top
    for folder in folders:
      below = at.get(folder)
      if not isinstance(below, dict):  # a folder goes before a file of its name
        below = at[folder] = {}
      at = below
    at.setdefault(name, found)
  return top


def _below(found: "Stat | Tree | None", parts: list[str]) -> "Stat | Tree | None":
  for part in parts:
    if not isinstance(found, dict):
      return None
    found = found.get(part)
  return found
