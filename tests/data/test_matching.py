"""Folders matched by file stem: how many there are does not matter."""

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data.matching import match_folders


def touch(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"xyz")


def test_records_hold_the_files_of_all_folders_in_their_order(tmp_path):
  touch(tmp_path, "c/1.png", "c/2.png", "a/1.jpg", "a/2.PNG", "b/2.bmp", "b/1.bmp", "b/x.txt")
  found = match_folders(str(tmp_path), {"one": "c", "two": "a", "three": "b"})
  assert [record.name for record in found.records] == ["1", "2"]
  assert [(n, f.path, f.bytes) for n, f in found.records[1].files.items()] == [
    ("one", "c/2.png", 3), ("two", "a/2.PNG", 3), ("three", "b/2.bmp", 3),
  ]  # fmt: skip
  assert found.problems == () and found.strays == ("b/x.txt",)
  assert [record.noun for record in found.records] == ["set", "set"]


def test_a_single_folder_needs_no_partner(tmp_path):
  touch(tmp_path, "a/1.png", "a/2.png")
  found = match_folders(str(tmp_path), {"thermal": "a"})
  assert [record.name for record in found.records] == ["1", "2"] and found.problems == ()
  assert found.records[0].noun == "image"


def test_what_each_folder_lacks_is_said(tmp_path):
  touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/3.png", "c/1.jpg")
  found = match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "c"})
  assert [record.name for record in found.records] == ["1"]
  doubles, *lacks = found.problems
  assert doubles == "two images of one name: c/1.jpg and c/1.png"
  assert lacks == [
    f"1 of 2 images in {tmp_path}/{here} have no partner of the same name in {there}: {name}"
    for here, there, name in (("a", "b", 2), ("a", "c", 2), ("c", "a", 3), ("c", "b", 3))
  ]


def test_unusable_folders_are_named(tmp_path):
  for name in "abc":
    (tmp_path / name).mkdir()
  with pytest.raises(InputError, match="no image in .*/a nor in .*/b nor in .*/c .looked for .png"):
    match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "c"})
  with pytest.raises(InputError, match="one and three are the same folder, 'a'"):
    match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "a"})
