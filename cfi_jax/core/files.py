"""Writing files so that a reader never sees half of one, and the folders they go to."""

import os
import pathlib
import tempfile

from cfi_jax.core.types import InputError


def require_folder(path: pathlib.Path) -> None:
  """Raises InputError where an output folder cannot be made or written, before work is done."""
  known = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
  if not known.is_dir():
    raise InputError(f"{path}: the output must be a folder, {known} is a file")
  if not os.access(known, os.W_OK | os.X_OK):
    raise InputError(f"{path}: the output cannot be written, no permission in {known}")


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
  """Writes a file whole or not at all; creates its folder; InputError names the path."""
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
  except OSError as error:
    if unfinished is not None and os.path.exists(unfinished):
      os.remove(unfinished)
    raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
