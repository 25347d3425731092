"""Writing files so that a reader never sees half of one, and the folders they go to."""

import errno
import os
import pathlib
import tempfile
import uuid

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, KnownError, StorageError

# Errors that the next write would meet, too: full, over quota, read-only or broken.
LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Errors of the file system, never of a program.
ACCIDENTS = (
  *(*LASTING, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE),
  *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST),  # a folder for a file, a file for a folder
)


def accident(error: BaseException, path: object = None) -> KnownError | None:
  """User's error for an accident of the file system; None where it may be the program's.

  An error that is no OSError, as of a library in another language, is told by its words.
  path: named where the error names no file.
  """
  if isinstance(error, OSError):
    found, named = error.errno, error.filename or path
  else:
    found = next((number for number in ACCIDENTS if os.strerror(number) in str(error)), None)
    named = path
  if found not in ACCIDENTS:
    return None
  named = os.fsdecode(named) if isinstance(named, bytes) else named
  kind = StorageError if found in LASTING else InputError
  # What a store of objects says is in words of ours (`core.storage`).
  said = getattr(error, "strerror", None) if storage.is_remote(str(named)) else None
  return kind(": ".join(str(part) for part in (named, said or os.strerror(found)) if part))


def require_folder(path: pathlib.Path) -> None:
  """Raises InputError where an output folder cannot be made or written, before work is done.

  Of a bucket that is told by writing an empty object, and removing it.
  """
  if isinstance(path, storage.BucketPath):
    probe = path / f".cfi_jax-{uuid.uuid4().hex}"
    try:
      if path.is_file():
        raise InputError(f"{path}: the output must be a folder, it is an object")
      probe.write_bytes(b"")
      probe.unlink()
    except FileNotFoundError as error:
      raise InputError(f"{path}: the output cannot be written: there is no such bucket") from error
    except OSError as error:
      raise InputError(f"{path}: the output cannot be written: {error.strerror}") from error
    return
  try:
    known = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
  except OSError as error:
    raise InputError(f"{path}: the output cannot be written: {error.strerror}") from error
  if not known.is_dir():
    raise InputError(f"{path}: the output must be a folder, {known} is a file")
  if not os.access(known, os.W_OK | os.X_OK):
    read_only = os.statvfs(known).f_flag & os.ST_RDONLY
    why = "a read-only file system" if read_only else "no permission"
    raise InputError(f"{path}: the output cannot be written, {why} in {known}")


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
  """Writes a file whole or not at all; creates its folder.

  Raises InputError that names the path, and StorageError where nothing more can be written.
  """
  path = storage.path(path)
  unfinished = None
  try:
    if isinstance(path, storage.BucketPath):
      path.write_bytes(content)
      return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
      dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
    ) as file:
      unfinished = file.name
      file.write(content)
    os.chmod(unfinished, 0o644)  # temporary files are private, results need not be
    os.replace(unfinished, path)
  except BaseException as error:  # an interruption leaves nothing behind either
    if unfinished is not None and os.path.exists(unfinished):
      os.remove(unfinished)
    if not isinstance(error, OSError):
      raise
    kind = StorageError if error.errno in LASTING else InputError
    raise kind(f"{path}: cannot be written: {error.strerror or error}") from error


def unfinished(path: pathlib.Path) -> pathlib.Path:
  """A local file in which a large one is made piece by piece, until `finish` gives it its name.

  It is beside the file that it becomes; of an object it is in the folder for temporary files.
  """
  if isinstance(path, storage.BucketPath):
    return pathlib.Path(tempfile.gettempdir(), f"cfi_jax-{uuid.uuid4().hex}{path.suffix}")
  return path.with_name(f".{path.name}.tmp")


def finish(made: pathlib.Path, path: pathlib.Path) -> None:
  """Gives a file of `unfinished` its name, whole or not at all; raises OSError."""
  if isinstance(path, storage.BucketPath):
    path.upload(made)
    made.unlink()
  else:
    os.replace(made, path)


def create(path: pathlib.Path, content: bytes) -> bool:
  """Whether this call made a file, whole: of several processes one does.

  content: differs from that of others, as by a token. In a bucket by a conditional write.
  """
  if isinstance(path, storage.BucketPath):
    return path.create_bytes(content)
  own = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  own.write_bytes(content)
  try:
    os.link(own, path)
  except FileExistsError:
    return False
  except OSError:  # no hard links here: the file exists, empty for a moment
    return _create_exclusively(path, content)
  finally:
    own.unlink()
  return True


def _create_exclusively(path: pathlib.Path, content: bytes) -> bool:
  try:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
  except FileExistsError:
    return False
  with os.fdopen(file, "wb") as stream:
    stream.write(content)
  return True
