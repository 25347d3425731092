"""The cache in the user's folder, and the count of compilations."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from cfi_jax.engine import compilation
from cfi_jax.engine.compilation import Compilations, cache_folder, use_cache


@pytest.fixture
def no_cache_of_the_user(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  settings = {"jax_compilation_cache_dir": None, "jax_persistent_cache_min_compile_time_secs": 0}
  before = {name: getattr(jax.config, name) for name in settings}
  for values in (settings, before):
    for name, value in values.items():
      jax.config.update(name, value)
    compilation_cache.reset_cache()
    if values is settings:
      yield


def compile_one(number):
  """A program that this process does not have; its constant makes it one of its own."""
  compilation_cache.reset_cache()
  shape = jax.ShapeDtypeStruct((3,), jnp.float32)
  return jax.jit(lambda x: jnp.sin(x) * number).lower(shape).compile()


def test_a_second_start_finds_the_programs_of_the_first(tmp_path, no_cache_of_the_user):
  use_cache()
  for read in (0, 1):
    with Compilations() as compilations:
      compile_one(1.5)
    assert (compilations.count, compilations.read) == (1, read)
    assert ("1 of 1 programs" in compilations.describe()) == bool(read)
  compile_one(2.5)
  assert compilations.count == 1  # it has left
  folder = tmp_path / "cache" / "cfi_jax"
  assert folder.stat().st_mode & 0o077 == 0 and len(list(folder.glob("*-cache"))) == 2


def test_nothing_is_counted_before_and_after():
  def happen():
    jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 1.5)
    jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
    jax.monitoring.record_event_duration_secs("another", 1.5)
    jax.monitoring.record_event("another")

  compilations = Compilations()
  happen()
  with compilations as entered:
    happen()
    happen()
  happen()
  assert entered is compilations and (entered.count, entered.read) == (2, 2)
  assert entered.describe() == ", 2 of 2 programs from the cache"


def test_the_users_own_folder_is_left_alone(tmp_path, no_cache_of_the_user):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
  use_cache()
  compile_one(5.5)
  assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_cache_that_is_off_stays_off(tmp_path, no_cache_of_the_user):
  jax.config.update("jax_enable_compilation_cache", False)
  try:
    use_cache()
  finally:
    jax.config.update("jax_enable_compilation_cache", True)
  assert jax.config.jax_compilation_cache_dir is None and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_does_no_harm(tmp_path, no_cache_of_the_user, monkeypatch):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  use_cache()
  assert jax.config.jax_compilation_cache_dir is None


def test_a_user_without_a_home_has_no_cache(tmp_path, no_cache_of_the_user, monkeypatch):
  def no_home(path):
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setattr("pathlib.Path.expanduser", no_home)
  use_cache()
  monkeypatch.undo()
  monkeypatch.setenv("XDG_CACHE_HOME", "relative")
  use_cache()
  assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize("denied", [0, os.W_OK, os.X_OK])
def test_a_folder_that_is_there_is_taken_if_it_can_be_written(tmp_path, monkeypatch, denied):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  folder = tmp_path / "cfi_jax"
  assert cache_folder() == folder
  monkeypatch.setattr(compilation.os, "access", lambda path, mode: not mode & denied)
  assert cache_folder() == (None if denied else folder)
