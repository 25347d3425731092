"""Writing files so that a reader never sees half of one."""

import os
import pathlib
import tempfile

from cfi_jax.types import InputError


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
