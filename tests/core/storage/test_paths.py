"""Objects and prefixes as paths: what there is, reading, writing, and listings that know of it."""

import errno
import pathlib

import pytest

from cfi_jax.core import storage
from cfi_jax.core.storage import listing

FOLDER = storage.path("s3://b/d")


@pytest.fixture
def objects(memory):
  """The objects of the bucket b by key, one of which is there."""
  memory.objects["b/d/a.txt"] = "caf\u00e9".encode()
  return memory.objects


def listed():
  return [entry.name for entry in storage.entries("s3://b/d")]


def test_an_object_is_a_file_and_a_prefix_a_folder(objects):
  path = FOLDER / "a.txt"
  for place, exists, is_file, is_dir in (
    (path, True, True, False), (FOLDER, True, False, True), (FOLDER / "none", False, False, False)
  ):  # fmt: skip
    assert (place.exists(), place.is_file(), place.is_dir()) == (exists, is_file, is_dir)
  assert path.stat().st_size == 5
  for place in (FOLDER, FOLDER / "none"):
    with pytest.raises(FileNotFoundError) as error:
      place.stat()
    assert error.value.filename == str(place)
  assert FOLDER.mkdir(parents=True) is None and [*objects] == ["b/d/a.txt"]


def test_an_object_is_read_as_text_or_as_bytes(objects):
  path = FOLDER / "a.txt"
  assert path.open().read() == path.read_text() == "caf\u00e9"
  assert path.open("rb").read() == path.read_bytes() == objects["b/d/a.txt"]
  assert path.read_bytes(1, 3) == b"af"
  with pytest.raises(UnicodeDecodeError):
    path.read_text("ascii")
  assert path.open(encoding="ascii", errors="ignore").read() == "caf"
  with pytest.raises(ValueError, match="mode 'w' of s3://b/d/a.txt; an object is read whole"):
    path.open("w")


def test_listings_know_of_all_that_is_written_and_removed_here(
  objects, memory, monkeypatch, tmp_path
):
  def put_file(file, key):
    memory.pipe_file(key, pathlib.Path(file).read_bytes())

  monkeypatch.setattr(memory, "put_file", put_file, raising=False)
  (tmp_path / "file").write_bytes(b"film")
  assert listed() == ["a.txt"]
  (FOLDER / "b").write_bytes(b"1")
  assert listed() == ["a.txt", "b"]
  (FOLDER / "c").upload(tmp_path / "file")
  assert listed() == ["a.txt", "b", "c"] and objects["b/d/c"] == b"film"
  assert (FOLDER / "e").create_bytes(b"mine") and listed() == ["a.txt", "b", "c", "e"]
  assert not (FOLDER / "e").create_bytes(b"other") and objects["b/d/e"] == b"mine"
  (FOLDER / "b").unlink()
  assert listed() == ["a.txt", "c", "e"]
  objects["b/d/f"] = b"of another machine"
  assert listed() == ["a.txt", "c", "e"]
  assert [path.name for path in FOLDER.iterdir()] == ["a.txt", "c", "e", "f"] == listed()


def test_what_is_not_there_is_removed_only_where_that_is_allowed(objects):
  with pytest.raises(FileNotFoundError):
    (FOLDER / "none").unlink()
  (FOLDER / "none").unlink(missing_ok=True)


@pytest.mark.parametrize("other", ["gs://b/d", "/b/d", "s3://b/e"])
def test_a_path_below_another_is_of_the_same_store(other):
  place = storage.path(other)
  assert not (FOLDER / "a").is_relative_to(place)
  with pytest.raises(ValueError, match="d/a"):
    (FOLDER / "a").relative_to(place)
  assert (FOLDER / "a").is_relative_to(FOLDER) and str((FOLDER / "a").relative_to(FOLDER)) == "a"
  assert [str(path) for path in (FOLDER / "a").parents] == ["s3://b/d", "s3://b"]
  assert str(FOLDER.with_suffix(".png")) == "s3://b/d.png"


def test_local_files_are_told_by_size_and_those_below_are_sorted(tmp_path):
  (tmp_path / "c").mkdir()
  for name, content in (("d", b""), ("c/x", b"1"), ("a", b"xyz")):
    (tmp_path / name).write_bytes(content)
  (tmp_path / "b").symlink_to(tmp_path / "nowhere")
  assert [storage.size(e) for e in storage.entries(str(tmp_path)) if not e.is_dir()] == [3, 0, 0]
  below = [str(path.relative_to(tmp_path)) for path in storage.files_below(tmp_path)]
  assert below == ["a", "c/x", "d"]
  assert storage.join("", "a") == "a" and storage.join("a", "b", "/c") == "/c"


def test_an_entry_is_that_of_a_listing_or_none(objects, memory):
  objects |= {"b/d/x/1": b"12"}
  assert listing.entry("s3://b/d/x/1") is None and not memory.calls  # nothing was listed
  storage.entries("s3://b/d")
  found = listing.entry("s3://b/d/x/1")
  assert (found.name, found.path, found.is_dir(), found.stat().st_size) == (
    "1", "s3://b/d/x/1", False, 2
  )  # fmt: skip
  folder = listing.entry("s3://b/d/x")
  assert folder.is_dir() and folder.name == "x"
  with pytest.raises(FileNotFoundError) as error:
    folder.stat()
  assert (error.value.errno, error.value.filename) == (errno.ENOENT, "s3://b/d/x")
  assert listing.entry("s3://b/d/none") is listing.entry("s3://b/d/x/1/2") is None
