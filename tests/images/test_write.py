"""Picture files: what is written is read back; half a file is never seen."""

import io

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.images import write as pictures
from cfi_jax.images.read import decode, read_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_holds_every_kind(tmp_path, random, dtype, channels):
  image = random.integers(0, np.iinfo(dtype).max + 1, (9, 13, channels), dtype)
  pictures.write_image(tmp_path / "x.png", image)
  read = read_image(tmp_path / "x.png")
  np.testing.assert_array_equal(read, image)
  assert read.dtype == dtype
  assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize("extension", [".bmp", ".tif", ".webp"])
def test_lossless_formats(tmp_path, random, extension):
  image = random.integers(0, 256, (9, 13, 3), np.uint8)
  pictures.write_image(tmp_path / f"x{extension}", image)
  np.testing.assert_array_equal(read_image(tmp_path / f"x{extension}"), image)


def test_jpeg_is_close(tmp_path):
  image = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (1, 64, 3))
  pictures.write_image(tmp_path / "x.jpg", image)
  assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - image).max() < 8


@pytest.mark.parametrize(
  ("name", "image", "words"),
  [
    ("x.gif", np.zeros((8, 8, 1), np.uint8), "cannot write '.gif'.*allowed: .png"),
    ("x.jpg", np.zeros((8, 8, 1), np.uint16), "16 bits"),
    ("x.jpg", np.zeros((8, 8, 4), np.uint8), "alpha"),
    ("x.jpg", np.zeros((8, 70_000, 3), np.uint8), "70000x8 pixels cannot be written as JPEG"),
    ("x.webp", np.zeros((8, 20_000, 1), np.uint8), "20000x8 pixels cannot be written as WEBP"),
  ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, image, words):
  with pytest.raises(InputError, match=words):
    pictures.write_image(tmp_path / name, image)
  assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
  def fail(*_):
    raise OSError(28, "No space left on device")

  (tmp_path / "x.png").write_text("old")
  monkeypatch.setattr("os.replace", fail)
  with pytest.raises(StorageError, match="x.png: cannot be written: No space"):
    pictures.write_image(tmp_path / "x.png", np.zeros((8, 8, 1), np.uint8))
  assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
  assert (tmp_path / "x.png").read_text() == "old"


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_grey_tiff_holds_every_type_that_is_chosen_for_it(tmp_path, random, dtype):
  image = random.integers(0, 60_000, (9, 13, 1)).astype(dtype)
  assert pictures.type_for("x.tif", dtype, 1) == dtype
  pictures.write_image(tmp_path / "x.tif", image)
  read = read_image(tmp_path / "x.tif")
  assert read.dtype == dtype
  np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize(
  ("name", "dtype", "channels", "expected"),
  [
    ("x.png", np.uint8, 3, np.uint8),
    ("x.png", np.uint16, 1, np.uint16),
    ("x.png", np.float32, 1, np.uint16),
    ("x.png", np.int16, 1, np.uint16),
    ("x.tiff", np.int16, 1, np.int32),
    ("x.tiff", np.float64, 1, np.float32),
    ("x.tiff", np.uint32, 1, np.float32),
    ("x.tiff", np.float32, 3, np.uint16),
  ],
)
def test_the_type_of_a_result(name, dtype, channels, expected):
  assert pictures.type_for(name, np.dtype(dtype), channels) == expected


def test_colour_of_16_bits_is_no_tiff(tmp_path):
  with pytest.raises(InputError, match="only be written as .png, in grey also as .tif"):
    pictures.write_image(tmp_path / "x.tif", np.zeros((8, 8, 3), np.uint16))


@pytest.mark.parametrize("extension", pictures.FORMATS)
def test_alpha_and_16_bits_of_every_format(tmp_path, random, extension):
  path = tmp_path / f"x{extension}"
  alpha = random.integers(1, 256, (9, 13, 4), np.uint8)
  if extension in (".png", ".tif", ".tiff", ".webp"):
    pictures.write_image(path, alpha)
    np.testing.assert_array_equal(read_image(path), alpha)
  else:
    with pytest.raises(InputError, match=f"{extension} holds no alpha channel"):
      pictures.write_image(path, alpha)
  if extension != ".png":
    with pytest.raises(InputError, match="16 bits per channel can only be written as .png"):
      pictures.write_image(path, np.zeros((8, 8, 3), np.uint16))


@pytest.mark.parametrize("extension", [".jpg", ".jpeg"])
def test_jpeg_is_of_quality_95(tmp_path, extension):
  image = np.zeros((8, 8, 3), np.uint8)
  pictures.write_image(tmp_path / f"x{extension}", image)
  Image.fromarray(image).save(tmp_path / "wanted.jpg", quality=95)
  found, wanted = (
    Image.open(tmp_path / name).quantization for name in (f"x{extension}", "wanted.jpg")
  )
  assert found == wanted


@pytest.mark.parametrize("extension", pictures.ANIMATED)
def test_an_animation_repeats_its_frames_for_ever(tmp_path, extension):
  frames = [np.full((8, 9, 3), level, np.uint8) for level in (0, 128, 255)]
  path = tmp_path / f"x{extension}"
  pictures.write_animation(path, frames, 120)
  with Image.open(path) as picture:
    assert picture.n_frames == 3 and picture.info["loop"] == 0
    for k, frame in enumerate(frames):
      picture.seek(k)
      picture.load()
      assert picture.info["duration"] == 120
      assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - frame).max() <= 4


def test_an_animation_whose_sides_its_format_cannot_hold_is_refused(tmp_path):
  with pytest.raises(InputError, match="x.gif: cannot be written as GIF"):
    pictures.write_animation(tmp_path / "x.gif", [np.zeros((1, 70_000, 3), np.uint8)], 100)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_encoded_png_is_read_back_and_smaller_at_a_higher_level(random, dtype, channels):
  image = random.integers(0, 3, (32, 32, channels)).astype(dtype)
  stored, small = (pictures.encode_png(image, level) for level in (0, 9))
  for content in (stored, small):
    np.testing.assert_array_equal(decode(io.BytesIO(content), "x"), image)
  assert len(small) < len(stored) / 2
