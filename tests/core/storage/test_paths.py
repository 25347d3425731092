"""Objects and prefixes as paths: what there is, reading, writing, and listings that know of it."""

import pathlib

import pytest

from cfi_jax.core import storage

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
