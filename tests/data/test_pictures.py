"""Folders of pictures, and pictures of 8 and of 16 bits."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.pictures import pictures_in, read_rgb


def test_pictures_are_in_the_order_of_their_names(tmp_path):
  for name in ("b.png", "a.JPG", "c.txt", "d.tif"):
    (tmp_path / name).touch()
  assert [path.name for path in pictures_in(tmp_path)] == ["a.JPG", "b.png", "d.tif"]


@pytest.mark.parametrize(
  ("names", "words"),
  [
    (None, "folder: does not exist$"),
    ("", "folder: is a file; allowed: a folder$"),
    ([], "holds no pictures; read are .png"),
    (["a.txt"], "holds no pictures"),
    (["b.png", "a.png", "b.jpg", "a.jpg"], "several pictures are called 'a' but for their ext"),
  ],
)
def test_folders_that_cannot_be_taken_are_named(tmp_path, names, words):
  folder = tmp_path / "folder"
  if names == "":
    folder.touch()
  elif names is not None:
    folder.mkdir()
    for name in names:
      (folder / name).touch()
  with pytest.raises(InputError, match=words):
    pictures_in(folder)


def save(path, values, dtype):
  Image.fromarray(np.array(values, dtype)).save(path)
  return path


def test_sixteen_bits_become_eight_by_the_nearest(tmp_path):
  path = save(tmp_path / "a.png", [[0, 128, 129, 386, 65535]], np.uint16)
  found = read_rgb(path, 5)
  assert found.dtype == np.uint8 and found.shape == (1, 5, 3)
  assert found[0, :, 2].tolist() == [0, 0, 1, 2, 255]
  path = save(tmp_path / "b.png", [[[1, 2, 3], [4, 5, 6]]], np.uint8)
  np.testing.assert_array_equal(read_rgb(path, 2), [[[1, 2, 3], [4, 5, 6]]])


def test_other_values_and_too_many_pixels_are_refused(tmp_path):
  path = save(tmp_path / "a.tif", [[0.5, 1.5]], np.float32)
  with pytest.raises(InputError, match="a.tif: holds float32; allowed: 8 or 16 bits"):
    read_rgb(path, 2)
  with pytest.raises(InputError, match="b.png"):
    read_rgb(save(tmp_path / "b.png", [[1, 2, 3]], np.uint8), 2)
