"""Compilation: JAX's cache in the user's cache folder, and a count of the programs compiled."""

import os
import pathlib

import jax

_FOLDER = "jax_compilation_cache_dir"
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
    """The clause ", N of M programs from the cache", empty if none was."""
    return f", {self.read} of {self.count} programs from the cache" if self.read else ""

  def _on_duration(self, event: str, seconds: float, **details) -> None:
    del seconds, details
    self.count += event == _MADE

  def _on_event(self, event: str, **details) -> None:
    del details
    self.read += event == _READ


def use_cache() -> None:
  """Has JAX keep compiled programs in the user's cache folder, $XDG_CACHE_HOME/cfi_jax.

  Called by commands. A folder that the user gave JAX (JAX_COMPILATION_CACHE_DIR) is used instead;
  where the cache is turned off, or the folder cannot be written, nothing is kept. Like code, the
  folder must be one that only its user writes.
  """
  if not jax.config.jax_enable_compilation_cache or getattr(jax.config, _FOLDER):
    return
  if (folder := cache_folder()) is not None:
    jax.config.update(_FOLDER, str(folder))


def cache_folder() -> pathlib.Path | None:
  """The folder in which this package keeps what can be made again; None where it cannot be written.

  It is $XDG_CACHE_HOME/cfi_jax, and is made.
  """
  try:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = cache / "cfi_jax"
    if not cache.is_absolute():
      return None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
  except (OSError, RuntimeError):  # RuntimeError: a user without a home
    return None
  return folder if os.access(folder, os.W_OK | os.X_OK) else None
