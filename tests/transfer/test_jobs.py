"""Flags of `python -m cfi_jax.transfer`, and what they ask for, before any weights are read."""

import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.transfer.command import Job, find_jobs


@pytest.fixture
def root(tmp_path):
  """Two sources in a folder, a target, and folders that cannot be used."""
  for folder in ("dance", "empty", "twins"):
    (tmp_path / folder).mkdir()
  for path in ("dance/b.png", "dance/a.jpg", "twins/a.png", "twins/a.jpg", "person.png"):
    Image.new("RGB", (16, 12), (9, 90, 200)).save(tmp_path / path)
  (tmp_path / "dance" / "notes.txt").write_text("no picture")
  return tmp_path


def jobs(root, source, output, target="person.png", extension=".png"):
  return find_jobs(root / source, root / target, str(root / output), extension)


def test_sources_of_a_folder_come_by_name_into_a_folder(root):
  assert jobs(root, "dance", "out", extension=".webp") == [
    Job(root / "dance" / "a.jpg", root / "out" / "a.webp"),
    Job(root / "dance" / "b.png", root / "out" / "b.webp"),
  ]


@pytest.mark.parametrize("name", ["dance.gif", "dance.WEBP"])
def test_sources_of_a_folder_make_one_film(name, root):
  files = [root / "dance" / "a.jpg", root / "dance" / "b.png"]
  assert jobs(root, "dance", name) == [Job(file, root / name) for file in files]
  (root / name).mkdir()  # a folder of that name is a folder
  assert [job.output.parent for job in jobs(root, "dance", name)] == [root / name] * 2
  person = root / "person.gif"
  Image.new("L", (4, 4)).save(person)
  with pytest.raises(InputError, match="is one of the pictures themselves"):
    jobs(root, "dance", "person.gif", "person.gif")


@pytest.mark.parametrize(
  ("output", "file"),
  [("one", "one.png"), ("one.jpg", "one.jpg"), ("new/", "new/b.png"), ("empty", "empty/b.png")],
)
def test_one_source_goes_to_a_file_or_into_a_folder(output, file, root):
  place = f"{root}/{output}"  # a path would lose the slash
  found = find_jobs(root / "dance" / "b.png", root / "person.png", place, ".png")
  assert found == [Job(root / "dance" / "b.png", root / file)]


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (("nowhere", "out"), "nowhere: does not exist"),
    (("dance", "out", "nobody.png"), "nobody.png: does not exist"),
    (("dance", "out", "dance"), "is a folder; allowed: one picture"),
    (("dance", "out", "person.png", ".xyz"), "cannot write '.xyz' files"),
    (("dance/b.png", "a.xyz"), "cannot write '.xyz' files"),
    (("dance/b.png", "dance/b.png"), "is one of the pictures themselves"),
    (("dance/b.png", "person.png"), "is one of the pictures themselves"),
    (("dance", "person.png"), "is a file; a folder of sources needs a folder"),
    (("dance", "dance"), "is the folder of the sources; choose another folder"),
    (("empty", "out"), "empty: holds no pictures"),
    (("twins", "out"), "several pictures are called 'a' but for their extension"),
  ],
)
def test_what_cannot_be_is_named(given, message, root):
  with pytest.raises(InputError, match=message):
    jobs(root, *given)
