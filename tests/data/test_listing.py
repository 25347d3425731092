"""Lists of files in messages, and what counts as an image."""

import os

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import listing
from cfi_jax.data.listing import File, FolderStore, Listing, Record, files_in


@pytest.mark.parametrize(
  ("count", "end"), [(1, "0"), (10, "8, 9"), (11, "9 and 1 more"), (13, "9 and 3 more")]
)
def test_ten_names_are_shown_and_the_rest_counted(count, end):
  text = listing.shorten(str(i) for i in range(count))
  assert text.startswith("0") and text.endswith(end)


@pytest.mark.parametrize(("count", "last"), [(20, "p19"), (21, "... and 1 more")])
def test_twenty_problems_are_shown_and_the_rest_counted(count, last):
  lines = listing.enumerate_problems("title", [f"p{i}" for i in range(count)]).split("\n  ")
  assert lines[0] == "title" and lines[1] == "p0" and lines[20] == "p19" and lines[-1] == last
  assert len(lines) == min(count, 20) + 1 + (count > 20)


@pytest.mark.parametrize(("images", "noun"), [(1, "image"), (2, "pair"), (3, "set"), (4, "set")])
def test_a_record_is_called_by_its_number_of_images(images, noun):
  assert Record("x", {str(i): File("x", 1) for i in range(images)}).noun == noun


def test_images_are_told_by_their_extension_and_hidden_files_are_none(tmp_path):
  for name in ("b.PNG", "a.tiff", ".hidden.png", "notes.txt", "png"):
    (tmp_path / name).write_bytes(b"xyz")
  (tmp_path / "folder.png").mkdir()
  (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere")
  images, others = files_in(str(tmp_path), "")
  assert images == [File("a.tiff", 3), File("b.PNG", 3), File("dead.jpg", 0)]
  assert [file.path for file in others] == [".hidden.png", "notes.txt", "png"]


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda root: None, "the root does not exist"),
    (lambda root: root.write_text(""), "the root is a file"),
    (lambda root: root.mkdir(), "it is empty"),
    (lambda root: (root / "b").mkdir(parents=True), "it holds b$"),
  ],
)
def test_a_missing_folder_is_named_with_what_is_there(tmp_path, make, words):
  make(tmp_path / "root")
  with pytest.raises(InputError, match=f"no folder 'a' in data root .*root: {words}"):
    files_in(str(tmp_path / "root"), "a")
  with pytest.raises(InputError, match="the data root is empty"):
    files_in("", "a")


def test_all_problems_are_told_at_once():
  record = Record("x", {})
  listing.require({"train": Listing((record,), (), ("stray",))}, "T")
  bad = {"train": Listing((record,), ("first", "second"), ()), "test": Listing((), (), ())}
  with pytest.raises(InputError) as error:
    listing.require(bad, "T")
  assert str(error.value).split("\n  ") == [
    "T: the images cannot be paired",
    "first",
    "second",
    "no pair of equally named images in test",
  ]


def test_a_file_that_is_gone_is_named(tmp_path):
  with pytest.raises(InputError, match=r"gone\.png: No such file"):
    FolderStore(str(tmp_path)).open("gone.png")


def test_folders_below_are_listed_but_for_hidden_ones_and_those_apart(tmp_path):
  for name in ("a.png", "s/b.png", ".trash/c.png"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()

  def found(**options):
    images, others = files_in(str(tmp_path), "", **options)
    return [image.path for image in images], others

  assert found() == (["a.png", "s/b.png"], [File(".trash", 0)])
  assert found(apart={os.path.realpath(tmp_path / "s")}) == (["a.png"], [File(".trash", 0)])
  assert found(subfolders=False) == (["a.png"], [])


@pytest.mark.parametrize(
  ("count", "most", "places"),
  [
    (5, 5, [0, 1, 2, 3, 4]),
    (5, 9, [0, 1, 2, 3, 4]),
    (9, 3, [0, 4, 8]),
    (7, 1, [0]),
    (0, 3, []),
    (42, 8, [0, 6, 12, 18, 23, 29, 35, 41]),
  ],
)
def test_some_of_many_are_taken_evenly_with_both_ends(count, most, places):
  assert listing.evenly(count, most) == places
