"""The cache of a workdir, and the count of compilations."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from cfi_jax.engine.compilation import FOLDER, Cache, Compilations


@pytest.fixture
def no_cache_of_the_user():
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
  shape = jax.ShapeDtypeStruct((3,), jnp.float32)
  return jax.jit(lambda x: jnp.sin(x) * number).lower(shape).compile()


def test_a_second_start_finds_the_programs_of_the_first(tmp_path, no_cache_of_the_user):
  for workdir, read in ((tmp_path / "a", 0), (tmp_path / "a", 1), (tmp_path / "b", 0)):
    with Compilations() as compilations:
      with Cache(workdir) as cache:
        compile_one(1.5)
        assert (workdir / FOLDER).exists() == bool(read)
        cache.keep()
      assert (compilations.count, compilations.read) == (1, read)
      assert ("1 of 1 programs" in compilations.describe()) == bool(read)
    assert len(list((workdir / FOLDER).iterdir())) == 1
  (tmp_path / "b").rename(tmp_path / "c")
  with Compilations() as compilations, Cache(tmp_path / "c") as cache:
    compile_one(1.5)
    compile_one(2.5)
    cache.keep()
  assert (compilations.count, compilations.read) == (2, 1)
  assert len(list((tmp_path / "c" / FOLDER).iterdir())) == 2
  compile_one(3.5)
  assert compilations.count == 2


def test_a_start_that_is_refused_leaves_no_trace(tmp_path, no_cache_of_the_user):
  with pytest.raises(ValueError, match="refused"), Cache(tmp_path / "run"):
    compile_one(4.5)
    raise ValueError("refused")
  assert not list(tmp_path.iterdir())
  assert jax.config.jax_compilation_cache_dir is None


def test_the_users_cache_is_left_alone(tmp_path, no_cache_of_the_user):
  jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
  with Cache(tmp_path / "run") as cache:
    compile_one(5.5)
    cache.keep()
  assert [path.name for path in tmp_path.iterdir()] == ["own"]
