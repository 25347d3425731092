"""A cache on this machine of objects that are read: fetched once, checked, and bounded.

An object is kept under a hash of its name, size and tag, so that another version is another file.
Processes of one machine share the folder: one fetches, the others wait for it. When the files are
more than CFI_JAX_CACHE_GB, those not used for longest go; what is open stays readable.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from cfi_jax.core.storage import listing
from cfi_jax.core.storage.pages import Stat
from cfi_jax.core.storage.paths import BucketPath, files_below, path
from cfi_jax.core.storage.requests import is_remote
from cfi_jax.core.types import InputError

FOLDER, BOUND = "CFI_JAX_CACHE", "CFI_JAX_CACHE_GB"  # in the environment, so that workers have them
DEFAULT_GB = 16.0
BLOCK = 2**16  # bytes that `peek` reads of an object at least
CHUNK = 2**25  # bytes of one request for a large object
_STRIPES = 64  # locks that objects share


def folder() -> pathlib.Path:
  """The folder of the cache: $CFI_JAX_CACHE, else cfi_jax/objects in the user's cache folder."""
  if given := os.environ.get(FOLDER):
    return pathlib.Path(given)
  root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
  return pathlib.Path(root, "cfi_jax", "objects")


def bound() -> float:
  """The size of the cache in bytes that is kept to, by $CFI_JAX_CACHE_GB."""
  given = os.environ.get(BOUND, str(DEFAULT_GB))
  try:
    gigabytes = float(given)
  except ValueError as error:
    raise InputError(f"{BOUND}={given}: not a number; allowed: gigabytes, 0 or more") from error
  if not gigabytes >= 0:
    raise InputError(f"{BOUND}={given}; allowed: gigabytes, 0 or more")
  return gigabytes * 1e9


def keep_to(gigabytes: float) -> None:
  """Sets the size of the cache for this process and those that it starts."""
  os.environ[BOUND] = str(gigabytes)


def open_binary(place: str | os.PathLike) -> BinaryIO:
  """Opens a file for reading bytes, an object by the cache."""
  if not is_remote(place):
    return open(place, "rb")
  return _fetched(cast(BucketPath, path(place)))[0]


def local(place: str | os.PathLike) -> pathlib.Path:
  """A path on this machine of a file or a folder, for libraries that read no buckets.

  Of an object it is that in the cache, which has its extension; a folder of a bucket is fetched
  whole, to a folder that is removed when the process ends.
  """
  if not is_remote(place):
    return pathlib.Path(place)
  remote = cast(BucketPath, path(place))
  listed = listing.entry(str(remote))
  if remote.is_dir() if listed is None else listed.is_dir():
    return fetch_folder(remote, temporary() / remote.name)
  file, kept = _fetched(remote)
  file.close()
  return kept


def fetch_folder(remote: BucketPath, to: pathlib.Path) -> pathlib.Path:
  """Copies all objects below a prefix into a folder; returns it."""
  for found in files_below(cast(pathlib.Path, remote)):
    target = to / cast(BucketPath, found).relative_to(remote)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_binary(found) as source, target.open("wb") as file:
      shutil.copyfileobj(source, file)
  return to


def peek(place: str | os.PathLike) -> BinaryIO:
  """Opens a file of which little will be read: of a large object that is not kept, parts alone."""
  if not is_remote(place):
    return open(place, "rb")
  remote = cast(BucketPath, path(place))
  found = _stat(remote)
  if found.st_size <= 4 * BLOCK or _kept(remote, found).exists():
    return _fetched(remote)[0]
  return cast(BinaryIO, io.BufferedReader(_Parts(remote, found.st_size), BLOCK))


class _Parts(io.RawIOBase):
  """An object, of which each reading is a request."""

  def __init__(self, remote: BucketPath, size: int):
    """Begins at its first byte."""
    self._remote, self._size, self._at = remote, size, 0

  def readable(self) -> bool:
    """Whether it is read: yes."""
    return True

  def seekable(self) -> bool:
    """Whether its parts can be chosen: yes."""
    return True

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    """Goes to a byte."""
    start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
    self._at = max(0, start + offset)
    return self._at

  def readinto(self, buffer: Any) -> int:
    """Reads up to the length of the buffer."""
    end = min(self._at + len(buffer), self._size)
    if end <= self._at:
      return 0
    content = self._remote.read_bytes(self._at, end)
    buffer[: len(content)] = content
    self._at += len(content)
    return len(content)


def _stat(remote: BucketPath) -> Stat:
  """Size and tag of an object, by a listing where one has it."""
  entry = listing.entry(str(remote))
  return entry.stat() if entry is not None else remote.stat()


def _kept(remote: BucketPath, found: Stat) -> pathlib.Path:
  """The file of an object in the cache."""
  identity = f"{remote}\n{found.st_size}\n{found.tag or found.st_mtime}"
  name = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()
  ending = "".join(remote.suffixes[-2:]) if remote.suffix == ".gz" else remote.suffix  # .nii.gz
  return folder() / name[:2] / f"{name[2:]}{ending}"


def _fetched(remote: BucketPath) -> tuple[BinaryIO, pathlib.Path]:
  """An object's content, open, and its file in the cache."""
  found = _stat(remote)
  kept = _kept(remote, found)
  try:
    file = kept.open("rb")
  except FileNotFoundError:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _locked(f"fetch-{int(kept.parent.name, 16) % _STRIPES}"):
      if not kept.exists():
        _fetch(remote, found, kept)
      file = kept.open("rb")
  with contextlib.suppress(OSError):
    os.utime(kept)  # used now
  return file, kept


def _fetch(remote: BucketPath, found: Stat, kept: pathlib.Path) -> None:
  """Fetches an object into the cache, whole or not at all.

  What is not of the size and hash that were listed is fetched once more; a hash that differs twice
  in the same way is no hash of the content, as where the store encrypts.
  """
  _make_room(found.st_size)
  with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".part", delete=False) as file:
    part = pathlib.Path(file.name)
  try:
    seen = ""
    for _ in range(3):
      digest, size = hashlib.md5(usedforsecurity=False), 0
      with part.open("wb") as file:
        for content in _chunks(remote, found.st_size):
          file.write(content)
          digest.update(content)
          size += len(content)
      if size == found.st_size and (digest.hexdigest() in (found.md5, seen) or not found.md5):
        os.replace(part, kept)
        return
      seen = digest.hexdigest()
    raise InputError(
      f"{remote}: has {size} bytes, and was listed with {found.st_size}; it has changed since, or "
      "does not arrive whole"
    )
  finally:
    part.unlink(missing_ok=True)


def _chunks(remote: BucketPath, size: int) -> Iterator[bytes]:
  """The content, in requests that memory holds."""
  if size <= CHUNK:
    yield remote.read_bytes()
    return
  for start in range(0, size, CHUNK):
    yield remote.read_bytes(start, min(start + CHUNK, size))


_room = 0.0  # bytes that this process may fetch before it looks at the size of the cache again


def _make_room(size: int) -> None:
  """Removes the files used longest ago, where need be, until one of a size fits.

  The folder is looked through now and then alone: a process may take an eighth of what is free
  before it looks again, and then an eighth of the cache is freed at least.
  """
  global _room
  _room -= size
  if _room >= 0:
    return
  with _locked("room"):
    files = sorted(((f.stat(), f) for f in _files()), key=lambda each: each[0].st_mtime)
    free = bound() - sum(known.st_size for known, _ in files) - size
    for known, file in files if free < 0 else ():
      if free >= bound() / 8:
        break
      file.unlink(missing_ok=True)
      free += known.st_size
    _room = free / 8


def _files() -> Iterator[pathlib.Path]:
  """The files of the cache, without what is left of a fetch that was cut off a day ago."""
  for below in folder().glob("??"):
    for file in below.iterdir():
      if file.suffix == ".part":
        with contextlib.suppress(OSError):
          if time.time() - file.stat().st_mtime > 86400:
            file.unlink()
      else:
        yield file


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
  """One process, and one of its threads, at a time; a lock that ends with its process."""
  locks = folder() / "locks"
  locks.mkdir(parents=True, exist_ok=True)
  with (locks / name).open("wb") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


_folders: list[tempfile.TemporaryDirectory] = []  # until the process ends


def temporary() -> pathlib.Path:
  """A new folder, which is removed when the process ends."""
  _folders.append(tempfile.TemporaryDirectory(prefix="cfi_jax-"))
  return pathlib.Path(_folders[-1].name).resolve()
