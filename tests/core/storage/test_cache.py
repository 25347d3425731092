"""Limits of the cache: what is fetched whole and what in parts, and how much is kept."""

import os
import pathlib
import time

import pytest

from cfi_jax.core import storage
from cfi_jax.core.storage import cache
from cfi_jax.core.storage.pages import Stat
from cfi_jax.core.types import InputError

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


def test_what_is_left_of_a_fetch_goes_after_a_day(monkeypatch, tmp_path):
  monkeypatch.setenv("CFI_JAX_CACHE", str(tmp_path))
  (tmp_path / "ab").mkdir()
  ages = {"whole": 200_000, "new.part": 86_300, "old.part": 86_500}
  for name, age in ages.items():
    (tmp_path / "ab" / name).touch()
    os.utime(tmp_path / "ab" / name, (time.time() - age,) * 2)
  assert [path.name for path in cache._files()] == ["whole"]
  assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == ["new.part", "whole"]


def test_the_cache_is_looked_through_when_an_eighth_of_what_was_free_is_taken(
  monkeypatch, tmp_path
):
  monkeypatch.setenv("CFI_JAX_CACHE", str(tmp_path))
  monkeypatch.setenv("CFI_JAX_CACHE_GB", "1e-6")  # 1000 bytes
  monkeypatch.setattr(cache, "_room", 0.0)
  (tmp_path / "ab").mkdir()
  for k in range(9):
    (tmp_path / "ab" / str(k)).write_bytes(bytes(100))
    os.utime(tmp_path / "ab" / str(k), (k, k))
  kept = [path.name for path in sorted((tmp_path / "ab").iterdir())]
  cache._make_room(100)
  assert sorted(path.name for path in cache._files()) == kept and cache._room == 0
  cache._make_room(175)  # 75 too many: the two used longest ago go, which frees an eighth
  assert sorted(path.name for path in cache._files()) == kept[2:]
  assert cache._room == 125 / 8
  looked = []
  monkeypatch.setattr(cache, "_files", lambda: looked.append(1) or [])
  cache._make_room(15)
  assert not looked
  cache._make_room(1)
  assert looked


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
