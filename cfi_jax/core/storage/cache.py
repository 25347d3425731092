"""A cache on this machine of objects that are read: fetched once, checked, and bounded.

An object is kept under a hash of its name, size and tag, so that another version is another file.
Processes of one machine share the folder: one fetches, the others wait for it. When the files are
more than CFI_JAX_CACHE_GB, those not used for longest go; what is open stays readable.
"""

import contextlib
import fcntl
import hashlib
import io
import math
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
from cfi_jax.core.types import InputError, StorageError

FOLDER, BOUND = "CFI_JAX_CACHE", "CFI_JAX_CACHE_GB"  # in the environment, so that workers have them
DEFAULT_GB = 16.0
BLOCK = 2**16  # bytes that `peek` reads of an object at least
CHUNK = 2**25  # bytes of one request for a large object
PART = ".part"  # extension of what is being fetched
_STRIPES = 64  # locks that objects share
_ADVICE = f"{FOLDER} names another folder, {BOUND} (training: --config.input.cache_gb) its size"


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
    with open_binary(found) as source, _writing(to, "TMPDIR names another folder"):
      target.parent.mkdir(parents=True, exist_ok=True)
      with target.open("wb") as file:
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
  with _writing(folder(), _ADVICE):
    try:
      file = cast(BinaryIO, kept.open("rb"))
    except FileNotFoundError:
      kept.parent.mkdir(parents=True, exist_ok=True)
      with _locked(f"fetch-{int(kept.parent.name, 16) % _STRIPES}"):
        file = cast(BinaryIO, kept.open("rb")) if kept.exists() else _fetch(remote, found, kept)
  with contextlib.suppress(OSError):
    os.utime(kept)  # used now
  return file, kept


@contextlib.contextmanager
def _writing(to: pathlib.Path, advice: str) -> Iterator[None]:
  """Raises StorageError for an error of a folder on this machine; those of a store name an object.

  It would befall the next object, too.
  """
  try:
    yield
  except OSError as error:
    if is_remote(str(error.filename or "")):
      raise
    raise StorageError(
      f"{to}: what is fetched cannot be kept there: {error.strerror}; {advice}"
    ) from error


def _fetch(remote: BucketPath, found: Stat, kept: pathlib.Path) -> BinaryIO:
  """Fetches an object into the cache, whole or not at all; opens it.

  What is not of the size and hash that were listed is fetched once more. A hash that differs twice
  in the same way is no hash of the content, as where the store encrypts, if the object is still the
  one that was listed; so it must be where there is no hash and parts came one by one.
  """
  part = _begin(found.st_size, kept.parent)
  try:
    seen = ""
    for _ in range(3):
      digest, size = hashlib.md5(usedforsecurity=False), 0
      with part.open("r+b") as file:
        for content in _chunks(remote, found.st_size):
          file.write(content)
          digest.update(content)
          size += len(content)
      told = digest.hexdigest()
      certain = told == found.md5 or not (found.md5 or size > CHUNK)
      likely = certain or not found.md5 or told == seen
      if size == found.st_size and (certain or (likely and remote.stat().tag == found.tag)):
        opened = part.open("rb")  # before others may drop it
        with _locked("room"):  # never between the names for who counts
          os.replace(part, kept)
        return opened
      seen = told
    raise InputError(
      f"{remote}: is not as it was listed ({found.st_size} bytes; now {size}); it has changed "
      "since, or does not arrive whole"
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


def _begin(size: int, below: pathlib.Path) -> pathlib.Path:
  """Makes a file of a size in the cache, which is to be written and gets its name then.

  The sum of all sizes is kept in a file, for all processes; what it counts too much, such as a
  fetch that failed, is found when it is more than the bound. Then files go until an eighth is free.
  """
  with _locked("room") as sum_file:
    sum_file.seek(0)
    known = sum_file.read()
    held = int(known) + size if known.isdigit() else math.inf
    if held > bound():
      held = _make_room(size) + size
    sum_file.truncate(0)
    sum_file.write(str(held).encode())
    with tempfile.NamedTemporaryFile(dir=below, suffix=PART, delete=False) as file:
      os.truncate(file.fileno(), size)  # counted by others from now on
    return pathlib.Path(file.name)


def _make_room(size: int) -> int:
  """Removes the files used longest ago, if more than the bound leaves for a size; their sum then.

  What is being fetched stays, and so does, for a day, what is left of a fetch that was cut off.
  """
  files: list[tuple[float, int, pathlib.Path]] = []
  for file in folder().glob("??/*"):
    with contextlib.suppress(FileNotFoundError):  # a fetch that failed meanwhile
      state = file.stat()
      files.append((state.st_mtime, state.st_size, file))
  held = sum(known for _, known, _ in files)
  full = held + size > bound()
  for used, known, file in sorted(files):
    old = time.time() - used > 86400
    if old if file.suffix == PART else full and held + size > bound() * 7 / 8:
      file.unlink(missing_ok=True)
      held -= known
  return held


@contextlib.contextmanager
def _locked(name: str) -> Iterator[BinaryIO]:
  """One process, and one of its threads, at a time; yields a file, whose lock ends with it."""
  locks = folder() / "locks"
  locks.mkdir(parents=True, exist_ok=True)
  with (locks / name).open("a+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield file


_folders: list[tempfile.TemporaryDirectory] = []  # until the process ends


def temporary() -> pathlib.Path:
  """A new folder, which is removed when the process ends."""
  _folders.append(tempfile.TemporaryDirectory(prefix="cfi_jax-"))
  return pathlib.Path(_folders[-1].name).resolve()
