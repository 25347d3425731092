"""The library of the native kernels: built once, found again, and what is said without it."""

import logging
import os

import pytest

from cfi_jax.native import build


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """An empty cache folder of the user's."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  return tmp_path / "cfi_jax"


@pytest.fixture
def quick(tmp_path, monkeypatch):
  """A source that compiles in no time, and has one function."""
  sources = tmp_path / "sources"
  sources.mkdir()
  (sources / "kernels.cc").write_text('extern "C" int seven() { return 7; }')
  monkeypatch.setattr(build, "SOURCES", sources)
  try:
    build.compiler()
  except build.Unavailable as error:
    pytest.skip(str(error))
  return sources / "kernels.cc"


def library():
  return build.library.__wrapped__()


def test_a_library_is_built_once_and_built_again_for_other_sources(cache, quick):
  loaded, reason = library()
  assert loaded.seven() == 7 and not reason
  (first,) = cache.iterdir()
  changed = first.stat().st_mtime_ns
  library()
  assert [first] == list(cache.iterdir()) and first.stat().st_mtime_ns == changed
  assert cache.stat().st_mode & 0o777 == 0o700
  quick.write_text('extern "C" int seven() { return 8; }')
  assert library()[0].seven() == 8
  assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-1] + b"x"])
def test_a_damaged_library_is_built_again(cache, quick, damage, caplog):
  library()
  (path,) = cache.iterdir()
  whole = path.read_bytes()
  path.unlink()  # the process has mapped the file
  path.write_bytes(damage(whole))
  assert library()[0].seven() == 7
  assert "is damaged and built again" in caplog.text
  assert [p.read_bytes() for p in cache.iterdir()] == [whole]


def reason(caplog):
  """The one line that is said, which names the reason."""
  with caplog.at_level(logging.WARNING):
    loaded, why = library()
  assert loaded is None
  (line,) = (record.getMessage() for record in caplog.records)
  assert line == f"native kernels are off: {why}; training uses plain JAX"
  return why


def test_no_compiler_is_said(cache, monkeypatch, caplog):
  monkeypatch.setenv("PATH", str(cache))
  monkeypatch.delenv("CXX", raising=False)
  assert reason(caplog) == "no C++ compiler was found (c++, g++, clang++)"


def test_a_chosen_compiler_that_is_not_there_is_named(cache, monkeypatch, caplog):
  monkeypatch.setenv("CXX", "c++-of-nowhere")
  assert reason(caplog) == "the compiler of CXX='c++-of-nowhere' was not found"


def test_sources_that_do_not_compile_leave_nothing(cache, quick, caplog):
  quick.write_text("int seven() { return missing; }")
  assert "could not compile them" in reason(caplog)
  assert not list(cache.iterdir())


def test_a_folder_that_others_may_write_to_is_refused(cache, quick, caplog):
  cache.mkdir()
  cache.chmod(0o777)
  assert reason(caplog) == f"the folder {cache} can be written by other users"


def test_a_folder_that_cannot_be_made_is_said(cache, quick, caplog):
  cache.write_text("a file")
  assert reason(caplog).startswith(f"the folder {cache} cannot be used")


def test_a_user_without_a_home_is_told(cache, quick, monkeypatch, caplog):
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.delenv("HOME", raising=False)
  monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # an id without an entry
  assert reason(caplog) == "the user has no home folder; XDG_CACHE_HOME may name one"


def test_a_compiler_that_does_not_end_is_given_up(cache, quick, tmp_path, monkeypatch, caplog):
  slow = tmp_path / "slow"
  slow.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo 1; else exec sleep 60; fi\n')
  slow.chmod(0o755)
  monkeypatch.setenv("CXX", str(slow))
  monkeypatch.setattr(build, "SECONDS", 1)
  assert reason(caplog) == f"{slow} did not end within 1 seconds"
  assert not list(cache.iterdir())


def test_a_system_without_such_libraries_is_said(cache, quick, monkeypatch, caplog):
  monkeypatch.setattr(os, "name", "nt")
  monkeypatch.setattr(build.platform, "system", lambda: "Windows")
  assert reason(caplog) == "Windows is not supported"
