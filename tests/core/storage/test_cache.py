"""Limits of the cache: what is fetched whole and what in parts, and how much is kept."""

import errno
import os
import pathlib
import types

import pytest

from cfi_jax.core import storage
from cfi_jax.core.storage import cache
from cfi_jax.core.storage.pages import Stat
from cfi_jax.core.types import InputError, StorageError

BLOCK, CHUNK = 2**16, 2**25


class Remote:
  """An object of so many bytes; notes which are read."""

  def __init__(self, size):
    self.size, self.asked = size, []

  def read_bytes(self, start=None, end=None):
    self.asked.append((start, end))
    return bytes((end or self.size) - (start or 0))


@pytest.mark.parametrize(("size", "whole"), [(4 * BLOCK, True), (4 * BLOCK + 1, False)])
def test_of_more_than_four_blocks_parts_alone_are_read(monkeypatch, tmp_path, size, whole):
  remote = Remote(size)
  monkeypatch.setattr(cache, "path", lambda place: remote)
  monkeypatch.setattr(cache, "_stat", lambda remote: Stat(size, 0.0, "", ""))
  monkeypatch.setattr(cache, "_kept", lambda *given: tmp_path / "kept")
  monkeypatch.setattr(cache, "_fetched", lambda remote: ("whole", None))
  found = cache.peek("s3://b/k")
  assert (found == "whole") == whole
  if not whole:
    assert len(found.read(1)) == 1 and remote.asked == [(0, BLOCK)]
    (tmp_path / "kept").touch()
    assert cache.peek("s3://b/k") == "whole"


def test_parts_of_an_object_are_read_as_of_a_file():
  remote = Remote(10)
  parts = cache._Parts(remote, 10)
  assert parts.readable() and parts.seekable()
  buffer = bytearray(4)
  assert parts.seek(-3, os.SEEK_END) == 7 and parts.readinto(buffer) == 3
  assert parts.readinto(buffer) == 0
  assert parts.seek(-8, os.SEEK_CUR) == 2 and parts.readinto(buffer) == 4
  assert parts.seek(1, os.SEEK_CUR) == 7 and parts.seek(-1) == 0
  assert remote.asked == [(7, 10), (2, 6)]


def test_large_objects_come_in_chunks():
  remote = Remote(CHUNK)
  assert [len(content) for content in cache._chunks(remote, CHUNK)] == [CHUNK]
  assert remote.asked == [(None, None)]
  asked = []
  remote.read_bytes = lambda *given: asked.append(given)
  assert len(list(cache._chunks(remote, 2 * CHUNK + 1))) == 3
  assert asked == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 2 * CHUNK + 1)]


def test_the_bound_is_16_gigabytes_unless_given(monkeypatch):
  monkeypatch.delenv(cache.BOUND, raising=False)
  assert cache.bound() == 16e9
  for text, size in (("0", 0), ("0.5", 5e8)):
    monkeypatch.setenv("CFI_JAX_CACHE_GB", text)
    assert cache.bound() == size
  cache.keep_to(2.5)
  assert cache.bound() == 2.5e9
  for text in ("-0.1", "nan"):
    monkeypatch.setenv("CFI_JAX_CACHE_GB", text)
    with pytest.raises(InputError, match=f"CFI_JAX_CACHE_GB={text}; allowed: gigabytes, 0 or more"):
      cache.bound()


def test_the_folder_is_given_or_that_of_the_user(monkeypatch):
  monkeypatch.setenv("CFI_JAX_CACHE", "/x/y")
  assert cache.folder() == pathlib.Path("/x/y")
  monkeypatch.delenv("CFI_JAX_CACHE")
  monkeypatch.setenv("XDG_CACHE_HOME", "/x")
  assert cache.folder() == pathlib.Path("/x/cfi_jax/objects")
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setenv("HOME", "/h")
  assert cache.folder() == pathlib.Path("/h/.cache/cfi_jax/objects")


@pytest.fixture
def below(monkeypatch, tmp_path):
  """A folder of a cache of 1000 bytes, in which nine files of 100 bytes are, 0 used longest ago."""
  monkeypatch.setenv("CFI_JAX_CACHE", str(tmp_path))
  monkeypatch.setenv("CFI_JAX_CACHE_GB", "1e-6")
  folder = tmp_path / "ab"
  folder.mkdir()
  for k in range(9):
    (folder / str(k)).write_bytes(bytes(100))
    os.utime(folder / str(k), (k, k))
  return folder


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_what_is_left_of_a_fetch_goes_after_a_day(below, monkeypatch):
  monkeypatch.setattr(cache, "time", types.SimpleNamespace(time=lambda: 1e6))
  for name, age in {"new.part": 86_400, "old.part": 86_401}.items():
    (below / name).write_bytes(bytes(10))
    os.utime(below / name, (1e6 - age,) * 2)
  assert cache._make_room(0) == 910
  assert names(below) == [*map(str, range(9)), "new.part"]
  assert cache._make_room(1000) == 10 and names(below) == ["new.part"]  # which is being fetched


def test_when_it_is_full_the_longest_unused_go_until_an_eighth_is_free(below):
  assert cache._make_room(100) == 900 and len(names(below)) == 9
  assert cache._make_room(101) == 700 and names(below) == [*"2345678"]


def test_the_sum_of_the_cache_is_kept_for_all_processes(below, monkeypatch):
  looked = []
  found = cache._make_room
  monkeypatch.setattr(cache, "_make_room", lambda size: looked.append(size) or found(size))
  first = cache._begin(60, below)
  assert first.parent == below and first.suffix == ".part" and first.stat().st_size == 60
  assert looked == [60]  # nobody had counted
  cache._begin(40, below)  # full to the byte
  assert looked == [60]
  first.unlink()  # a fetch that failed, which is still in the sum
  cache._begin(1, below)
  assert looked == [60, 1] and len(names(below)) == 11
  for wrong in ("", "text", "-5", "99999"):
    (below.parent / "locks" / "room").write_text(wrong)
    cache._begin(1, below)
  assert looked == [60, 1, 1, 1, 1, 1]


def test_an_object_keeps_its_extension_and_another_version_is_another_file(monkeypatch, tmp_path):
  monkeypatch.setenv("CFI_JAX_CACHE", str(tmp_path))
  names = set()
  for url, stat, ending in (
    ("s3://b/a.b.png", Stat(1, 1.0, "t", ""), ".png"),
    ("s3://b/a.b.nii.gz", Stat(1, 1.0, "t", ""), ".nii.gz"),
    ("s3://b/a", Stat(1, 1.0, "t", ""), ""),
    ("s3://b/a", Stat(2, 1.0, "t", ""), ""),
    ("s3://b/a", Stat(1, 1.0, "u", ""), ""),
    ("s3://b/a", Stat(1, 2.0, "", ""), ""),
    ("s3://b/a", Stat(1, 3.0, "", ""), ""),
  ):
    kept = cache._kept(storage.path(url), stat)
    assert "".join(kept.suffixes) == ending and kept.parent.parent == tmp_path
    assert len(kept.parent.name) == 2 and len(kept.name.split(".")[0]) == 62
    names.add(kept)
  assert len(names) == 7
  with_time = (cache._kept(storage.path("s3://b/a"), Stat(1, t, "t", "")) for t in (1.0, 2.0))
  assert len({*with_time}) == 1  # where there is a tag the time does not count


def test_folders_for_a_while_are_one_for_each(tmp_path):
  one, other = cache.temporary(), cache.temporary()
  assert one != other and one.is_dir() and other.is_dir()


@pytest.mark.parametrize("filename", [None, "/tmp/x"])
def test_a_folder_that_takes_nothing_is_named_with_the_way_on(tmp_path, filename):
  with pytest.raises(StorageError) as error, cache._writing(tmp_path, "give another"):
    raise OSError(errno.ENOSPC, "No space left", filename)
  said = f"{tmp_path}: what is fetched cannot be kept there: No space left; give another"
  assert str(error.value) == said


def test_an_error_of_the_store_is_none_of_the_folder(tmp_path):
  with pytest.raises(FileNotFoundError), cache._writing(tmp_path, "give another"):
    raise FileNotFoundError(errno.ENOENT, "gone", "s3://b/x")
