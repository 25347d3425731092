"""Listings of buckets, which are kept: what a command reads is listed once."""

import base64
import dataclasses
import datetime
import errno
import os
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any, cast

from cfi_jax.core.storage.requests import attempt, is_remote


@dataclasses.dataclass(frozen=True)
class Stat:
  """Size of an object in bytes, its last change, and a tag that changes with its content.

  md5: of the content (hex), "" where the store does not tell.
  """

  st_size: int
  st_mtime: float
  tag: str
  md5: str

  @property
  def st_mtime_ns(self) -> int:
    """The last change in nanoseconds."""
    return int(self.st_mtime * 1e9)


def stat_of(info: dict[str, Any]) -> Stat:
  """Turns the description of an object by a file system of fsspec into a `Stat`."""
  times = (info.get(name) for name in ("mtime", "updated", "LastModified", "last_modified"))
  changed = next(filter(None, times), 0)
  if isinstance(changed, str):
    changed = datetime.datetime.fromisoformat(changed)
  seconds = changed if isinstance(changed, int | float) else changed.timestamp()
  tag = str(info.get("etag") or info.get("ETag") or info.get("md5Hash") or "").strip('"')
  return Stat(int(info["size"]), float(seconds), tag, _md5(info, tag))


def _md5(info: dict[str, Any], tag: str) -> str:
  """The MD5 of the content, hexadecimal, where the store tells it."""
  if encoded := info.get("md5Hash"):
    return base64.b64decode(encoded).hex()
  return tag if "ETag" in info and re.fullmatch(r"[0-9a-f]{32}", tag) else ""


@dataclasses.dataclass(slots=True)
class Entry:
  """A file or a folder in a listing, as `os.DirEntry` has it; below: the entries of a folder."""

  name: str
  path: str
  found: Stat | None = None
  below: "dict[str, Entry] | None" = None

  def is_dir(self) -> bool:
    """Whether it is a folder."""
    return self.below is not None

  def stat(self) -> Stat:
    """Size, time and tag of a file."""
    if self.found is None:
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
    return self.found


_listings: dict[str, Entry] = {}  # by the folder that was listed, with all that is below it
_listing = threading.RLock()


def entries(directory: str) -> list[Any]:
  """The entries of a folder in the order of their names; of a bucket `Entry`, else `os.DirEntry`.

  All that is below a folder of a bucket is listed at once, and kept (see `forget`).
  """
  if not is_remote(directory):
    return sorted(os.scandir(directory), key=lambda entry: entry.name)
  found = _listed(directory, list_now=True)
  if found is None or found.below is None:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
  return [found.below[name] for name in sorted(found.below)]


def size(entry: Any) -> int:
  """The size of an entry in bytes; 0 of a link to nowhere."""
  return entry.stat().st_size if isinstance(entry, Entry) or os.path.exists(entry.path) else 0


def entry(place: str) -> Entry | None:
  """The entry of an object in the listings that are kept; None where none has it."""
  return _listed(place, list_now=False)


def forget(url: str) -> None:
  """Drops the listings of a path and of the folders that it is in: the next look lists anew."""
  with _listing:
    for folder in _upwards(url):
      _listings.pop(folder, None)


def listings() -> dict[str, list[tuple[str, int, float, str, str]]]:
  """The listings that are kept, as plain values for another process; see `take_listings`."""

  def flat(folder: Entry, prefix: str) -> Iterator[tuple[str, int, float, str, str]]:
    for below in (folder.below or {}).values():
      if below.found is not None:
        yield prefix + below.name, *dataclasses.astuple(below.found)
      else:
        yield from flat(below, f"{prefix}{below.name}/")

  with _listing:
    return {name: list(flat(folder, "")) for name, folder in _listings.items()}


def take_listings(found: dict[str, list[Any]]) -> None:
  """Keeps the listings of another process in place of listing oneself."""
  with _listing:
    for name, files in found.items():
      _listings[name] = _tree(name, ((key, Stat(*values)) for key, *values in files))


def _listed(url: str, list_now: bool) -> Entry | None:
  """The entry of a path in a listing of it or of a folder that it is in."""
  url = url.rstrip("/")
  with _listing:
    for folder in _upwards(url):
      if (found := _listings.get(folder)) is not None:
        return _below(found, [name for name in url.removeprefix(folder).split("/") if name])
    if not list_now:
      return None
    files = attempt(url, lambda fs, key: fs.find(key, detail=True))
    prefix = url.partition("://")[2] + "/"
    named = ((key.removeprefix(prefix), info) for key, info in files.items())
    # An object whose name ends with a slash is a folder that some console made.
    whole = ((key, info) for key, info in named if key and not key.endswith("/"))
    _listings[url] = _tree(url, ((key, stat_of(info)) for key, info in whole))
    return _listings[url]


def _upwards(url: str) -> Iterator[str]:
  """A path and the folders that it is in, up to the bucket."""
  url, least = url.rstrip("/"), url.index("://") + 3
  while len(url) > least:
    yield url
    url = url.rpartition("/")[0]


def _tree(root: str, files: Iterable[tuple[str, Stat]]) -> Entry:
  top = Entry(root.rsplit("/", 1)[-1], root, None, {})
  for key, found in files:
    *folders, name = key.split("/")
    at = top
    for folder in folders:
      below = cast(dict[str, Entry], at.below)
      if folder not in below or below[folder].below is None:
        below[folder] = Entry(folder, f"{at.path}/{folder}", None, {})
      at = below[folder]
    cast(dict[str, Entry], at.below).setdefault(name, Entry(name, f"{at.path}/{name}", found))
  return top


def _below(found: Entry | None, parts: list[str]) -> Entry | None:
  for part in parts:
    if found is None or found.below is None:
      return None
    found = found.below.get(part)
  return found
