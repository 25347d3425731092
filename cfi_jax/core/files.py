"""Writing files so that a reader never sees half of one, and the folders they go to."""

import errno
import os
import pathlib
import tempfile

from cfi_jax.core.types import InputError, StorageError

# Errors that the next write would meet, too: full, over quota, read-only or broken.
LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Errors of the file system, never of a program.
ACCIDENTS = (
  *(*LASTING, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE),
  *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST),  # a folder for a file, a file for a folder
)


def accident(error: BaseException, path: object = None) -> InputError | None:
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
  return kind(": ".join(str(part) for part in (named, os.strerror(found)) if part))


def require_folder(path: pathlib.Path) -> None:
  """Raises InputError where an output folder cannot be made or written, before work is done."""
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
  path = pathlib.Path(path)
  unfinished = None
  try:
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
