"""Compilation: a persistent cache in the workdir, and a count of the programs compiled."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping

import jax
from jax.experimental.compilation_cache import compilation_cache

from cfi_jax.core.types import InputError

FOLDER = "compiled"  # of the workdir
_FOLDER_SETTING = "jax_compilation_cache_dir"
_MADE = "/jax/core/compile/backend_compile_duration"  # also of those that a cache had
_READ = "/jax/compilation_cache/cache_hits"


class Compilations:
  """Counts the programs compiled while it is entered; a context manager.

  count: programs made ready so far. read: how many of them a persistent cache had.
  """

  def __init__(self):
    """Counts nothing until entered."""
    self.count = self.read = 0

  def __enter__(self) -> "Compilations":
    """Begins to listen to JAX."""
    jax.monitoring.register_event_duration_secs_listener(self._on_duration)
    jax.monitoring.register_event_listener(self._on_event)
    return self

  def __exit__(self, *exception) -> None:
    """Listens no more."""
    jax.monitoring.unregister_event_duration_listener(self._on_duration)
    jax.monitoring.unregister_event_listener(self._on_event)

  def describe(self) -> str:
    """ ", N of M programs from the cache", if any was."""
    return f", {self.read} of {self.count} programs from the cache" if self.read else ""

  def _on_duration(self, event: str, seconds: float, **details) -> None:
    del seconds, details
    self.count += event == _MADE

  def _on_event(self, event: str, **details) -> None:
    del details
    self.read += event == _READ


class Cache:
  """Owns JAX's persistent cache while a run compiles; a context manager.

  Programs come from `workdir`/compiled and go to a temporary folder until `keep`, so that a start
  that is refused leaves the workdir as it was, and a killed one leaves no half of a file in it.
  Where the user has given JAX a folder, or turned the cache off, everything is left to that.
  """

  def __init__(self, workdir: pathlib.Path):
    """Does nothing until entered."""
    self._folder = workdir.absolute() / FOLDER
    self._stack = contextlib.ExitStack()
    self._new: pathlib.Path | None = None

  def __enter__(self) -> "Cache":
    """Points JAX to the temporary folder, which links to what the workdir has."""
    if jax.config.jax_enable_compilation_cache and not jax.config.jax_compilation_cache_dir:
      made = tempfile.TemporaryDirectory(prefix="cfi_jax_", ignore_cleanup_errors=True)
      self._new = pathlib.Path(self._stack.enter_context(made))
      for path in self._folder.glob("*-cache"):
        (self._new / path.name).symlink_to(path)
      self._stack.enter_context(_cache_in(self._new))
    return self

  def __exit__(self, *exception) -> None:
    """Removes the temporary folder, if `keep` has not."""
    self._stack.close()

  def keep(self) -> None:
    """Adds what was compiled to the workdir, once that is this run's; programs compiled later are
    not cached. Raises `InputError` if the workdir cannot be written.
    """
    try:
      for path in self._new.iterdir() if self._new else ():
        if not path.is_symlink():
          self._folder.mkdir(parents=True, exist_ok=True)
          final = self._folder / path.name
          unfinished = final.with_suffix(".tmp")
          shutil.copyfile(path, unfinished)
          os.replace(unfinished, final)
    except OSError as error:
      raise InputError(f"{self._folder} cannot be written: {error}") from error
    self._stack.close()


@contextlib.contextmanager
def _cache_in(folder: pathlib.Path) -> Iterator[None]:
  """JAX keeps compiled programs in the folder; it looks at the setting only after a reset.

  XLA's own caches within that folder are off: they make its path a part of every program's key, so
  that nothing would be found again from another folder.
  """
  settings = {_FOLDER_SETTING: str(folder), "jax_persistent_cache_enable_xla_caches": "none"}
  before = {name: getattr(jax.config, name) for name in settings}
  try:
    _set(settings)
    yield
  finally:
    _set(before)


def _set(settings: Mapping[str, str | None]) -> None:
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
