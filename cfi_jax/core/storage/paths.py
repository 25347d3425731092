"""Paths of files: local ones, and objects of buckets."""

import dataclasses
import errno
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, cast

from cfi_jax.core.storage.listing import entries, forget
from cfi_jax.core.storage.pages import Stat, stat_of
from cfi_jax.core.storage.requests import attempt, check, is_remote


def path(text: str | os.PathLike, *below: str) -> pathlib.Path:
  """The path that a text names, and those below it (`join`); raises InputError as `check` does."""
  name = join(os.fspath(text), *below)
  if not is_remote(name):
    return pathlib.Path(name)
  check(name)
  scheme, _, inner = name.partition("://")
  return cast(pathlib.Path, BucketPath(scheme, pathlib.PurePosixPath(inner.lstrip("/"))))


def join(root: str, *parts: str) -> str:
  """`os.path.join`, in which a part in a bucket is absolute."""
  for part in parts:
    root = part if is_remote(part) else os.path.join(root, part)
  return root


def real(text: str) -> str:
  """`os.path.realpath`; a path in a bucket without a slash at its end."""
  return os.fspath(path(text)) if is_remote(text) else os.path.realpath(text)


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """The files of a folder and of those below it, sorted by their paths."""
  if not isinstance(folder, BucketPath):
    yield from (p for p in sorted(folder.rglob("*")) if p.is_file())
    return
  for entry in entries(str(folder)):
    if entry.is_dir():
      yield from files_below(path(entry.path))
    else:
      yield path(entry.path)


@dataclasses.dataclass(frozen=True, order=True)
class BucketPath:
  """An object of a bucket, or a prefix, which is a folder there.

  inner: bucket and key. What `pathlib.Path` has under the same name does the same.
  """

  scheme: str
  inner: pathlib.PurePosixPath

  def __fspath__(self) -> str:
    """The URL."""
    return f"{self.scheme}://{self.inner}"

  def __str__(self) -> str:
    """The URL."""
    return os.fspath(self)

  def __truediv__(self, other: str | os.PathLike) -> "BucketPath":
    """A path below this one."""
    return dataclasses.replace(self, inner=self.inner / os.fspath(other))

  def __getattr__(self, name: str) -> Any:
    """Parts of the name, as those of a path have them."""
    if name not in ("name", "stem", "suffix", "suffixes", "parts"):
      raise AttributeError(name)
    return getattr(self.inner, name)

  @property
  def parent(self) -> "BucketPath":
    """The folder."""
    return dataclasses.replace(self, inner=self.inner.parent)

  @property
  def parents(self) -> list["BucketPath"]:
    """The folders, up to the bucket."""
    return [dataclasses.replace(self, inner=p) for p in self.inner.parents if p.name]

  def with_name(self, name: str) -> "BucketPath":
    """A path beside this one."""
    return dataclasses.replace(self, inner=self.inner.with_name(name))

  def with_suffix(self, suffix: str) -> "BucketPath":
    """A path beside this one with another extension."""
    return dataclasses.replace(self, inner=self.inner.with_suffix(suffix))

  def relative_to(self, other: Any) -> pathlib.PurePosixPath:
    """The path below another one."""
    if not isinstance(other, BucketPath) or other.scheme != self.scheme:
      raise ValueError(f"{self} is not below {other}")
    return self.inner.relative_to(other.inner)

  def is_relative_to(self, other: Any) -> bool:
    """Whether this is another path, or below it."""
    same = isinstance(other, BucketPath) and other.scheme == self.scheme
    return same and self.inner.is_relative_to(other.inner)

  def resolve(self) -> "BucketPath":
    """Itself: there are no links."""
    return self

  absolute = expanduser = resolve

  def stat(self) -> Stat:
    """Size, time and tag of an object; FileNotFoundError for a prefix, too."""
    info = self._info()
    if info["type"] == "directory":
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
    return stat_of(info)

  def exists(self) -> bool:
    """Whether there is an object of this name, or one below it."""
    try:
      self._info()
    except FileNotFoundError:
      return False
    return True

  def is_dir(self) -> bool:
    """Whether there is an object below this prefix; a bucket alone is a folder."""
    return self._is("directory")

  def is_file(self) -> bool:
    """Whether there is an object of this name."""
    return self._is("file")

  def open(self, mode: str = "r", **options: Any) -> Any:
    """Reads the object whole; mode "rb" gives its bytes, "r" its text."""
    if mode not in ("r", "rb"):
      raise ValueError(f"mode {mode!r} of {self}; an object is read whole; write_bytes writes one")
    return io.BytesIO(self.read_bytes()) if "b" in mode else io.StringIO(self.read_text(**options))

  def read_bytes(self, start: int | None = None, end: int | None = None) -> bytes:
    """The content, or its bytes from `start` to `end`."""
    return attempt(str(self), lambda fs, key: fs.cat_file(key, start=start, end=end))

  def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The content as text."""
    return self.read_bytes().decode(encoding, errors)

  def write_bytes(self, content: bytes) -> None:
    """Writes an object, which appears whole when all of it has arrived, in place of another."""
    attempt(str(self), lambda fs, key: fs.pipe_file(key, content))
    forget(str(self))

  def upload(self, file: pathlib.Path) -> None:
    """Writes an object of the content of a local file, as `write_bytes` does."""
    attempt(str(self), lambda fs, key: fs.put_file(os.fspath(file), key))
    forget(str(self))

  def create_bytes(self, content: bytes) -> bool:
    """Whether this call made the object: of several writers one does, by a conditional write.

    Contents must differ, as by a token: an answer that was lost is told by them.
    """
    try:
      attempt(str(self), lambda fs, key: fs.pipe_file(key, content, mode="create"))
    except FileExistsError:
      return self.exists() and self.read_bytes() == content
    forget(str(self))
    return True

  def unlink(self, missing_ok: bool = False) -> None:
    """Removes an object."""
    try:
      attempt(str(self), lambda fs, key: fs.rm_file(key))
    except FileNotFoundError:
      if not missing_ok:
        raise
    forget(str(self))

  def mkdir(self, *_: Any, **__: Any) -> None:
    """Does nothing: a prefix needs no making."""

  def iterdir(self) -> Iterator["BucketPath"]:
    """The paths in this folder, listed anew."""
    forget(str(self))
    return (cast(BucketPath, path(entry.path)) for entry in entries(str(self)))

  def _info(self) -> dict[str, Any]:
    return attempt(str(self), lambda fs, key: fs.info(key))

  def _is(self, kind: str) -> bool:
    try:
      return bool(self._info()["type"] == kind)
    except FileNotFoundError:
      return False
