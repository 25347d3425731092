"""Alignment of folders by name, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import align, read


def save(folder, name, size=(20, 24), mode="L"):
  folder.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size[::-1], 99).save(folder / name)


@pytest.fixture
def folders(tmp_path):
  for role in ("visible", "infrared", "net"):
    for name in ("a", "b", "c"):
      extension = ".bmp" if role == "net" else ".png"
      save(tmp_path / role, name + extension)
  return {role: tmp_path / role for role in ("visible", "infrared", "net")}


def test_names_match_across_extensions(folders):
  alignment = align(folders)
  assert [scene.name for scene in alignment.scenes] == ["a", "b", "c"]
  assert alignment.scenes[0].paths["net"].name == "a.bmp"
  assert alignment.scenes[0].size == (20, 24)
  assert alignment.notes == ()


def test_missing_extra_and_differing_files_are_listed(folders):
  (folders["net"] / "b.bmp").unlink()
  save(folders["net"], "z.png")
  save(folders["net"], "c.bmp", (24, 20))
  save(folders["visible"], "y.png")
  (folders["net"] / "readme.txt").write_text("not an image")
  alignment = align(folders)
  assert [scene.name for scene in alignment.scenes] == ["a"]
  notes = "\n".join(alignment.notes)
  assert "net" in notes and "lacks 1 of 3 pairs: b" in notes
  assert "has 1 images that belong to no pair: z" in notes
  assert "has 1 images that belong to no pair: y" in notes
  assert "1 pairs left out, sizes differ: c (visible 20x24, infrared 20x24, net 24x20)" in notes
  assert len(alignment.notes) == 4


def test_every_missing_file_is_listed(folders):
  for k in range(30):
    for role in ("visible", "infrared"):
      save(folders[role], f"n{k}.png")
  (note,) = align(folders).notes
  assert all(f"n{k}" in note.split(": ")[1].split(", ") for k in range(30))


def test_unusable_folders(folders, tmp_path):
  with pytest.raises(InputError, match="other: .*nowhere does not exist"):
    align({**folders, "other": tmp_path / "nowhere"})
  with pytest.raises(InputError, match="a.png is not a folder"):
    align({**folders, "other": folders["visible"] / "a.png"})
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match=r"other: no image in .*empty \(looked for .png"):
    align({**folders, "other": tmp_path / "empty"})
  save(tmp_path / "alien", "q.png")
  with pytest.raises(InputError, match=r"(?s)no image is present in all folders.*lacks 3 of 3"):
    align({**folders, "other": tmp_path / "alien"})
  save(folders["net"], "a.png")
  with pytest.raises(
    InputError, match="net: two images of one name: .*a.bmp and .*a.png|a.png and"
  ):
    align(folders)


def test_unreadable_files_are_all_named(folders):
  (folders["net"] / "a.bmp").write_bytes(b"no image")
  (folders["infrared"] / "b.png").write_bytes(b"")
  with pytest.raises(InputError, match=r"(?s)2 images cannot be read.*b\.png.*") as error:
    align(folders)
  assert "a.bmp" in str(error.value)


def test_only_eight_bits_are_read(tmp_path):
  Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "x.png")
  with pytest.raises(InputError, match=r"x\.png: 16 bits"):
    read(tmp_path / "x.png")
  Image.new("RGBA", (8, 6), (1, 2, 3, 4)).save(tmp_path / "y.png")
  assert read(tmp_path / "y.png")[0, 0].tolist() == [1, 2, 3]
