import re
import shutil

import numpy as np
import pytest
import thermal_files
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data.naming import OPTIONS
from cfi_jax.datasets import inspect
from cfi_jax.datasets.world.defaults import street_scenes

CROP = 16


def draw(path, seed, channels=1, size=(24, 20)):
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)
  Image.fromarray(pixels.squeeze()).save(path)


@pytest.fixture
def msrs(tmp_path):
  """Four training pairs and two test pairs without fault."""
  for part, names in (("train", "abcd"), ("test", "xy")):
    for name in names:
      draw(tmp_path / part / "vi" / f"{name}.png", ord(name), 3)
      draw(tmp_path / part / "ir" / f"{name}.png", 1000 + ord(name))
  return tmp_path


def report(root, name="msrs", fraction=0.25, **options):
  fields = {"name": name, "root": str(root), "validation_fraction": fraction, **options}
  return inspect.check(datasets.load(fields), CROP)


def only(lines):
  assert len(lines) == 1, lines
  return lines[0]


def test_a_sound_root_is_counted_and_has_no_problem(msrs):
  found = report(msrs)
  assert found.problems == () and found.notes == ()
  assert found.counts == {"train": 3, "validation": 1, "test": 2}
  assert found.sizes == {"24x20": 6}
  assert found.kinds == {"infrared: grey, 8 bits": 6, "visible: RGB, 8 bits": 6}
  text = inspect.describe(found)
  assert "train: 3 pairs" in text and "24x20 (6)" in text and text.endswith("nothing wrong")


def test_everything_wrong_is_listed_in_one_go(msrs):
  (msrs / "train" / "ir" / "a.png").unlink()
  (msrs / "train" / "vi" / "b.png").write_bytes(b"no image")
  draw(msrs / "train" / "ir" / "c.png", 5, size=(24, 21))
  draw(msrs / "test" / "vi" / "x.png", 6)
  draw(msrs / "test" / "ir" / "x.png", 7, 3)
  (msrs / "test" / "ir" / "y.png").write_bytes(b"")
  problems = report(msrs, fraction=0.0).problems
  assert len(problems) == 5
  expected = ["a$", "b.png: not an image", "y.png: the file is empty", "x$"]
  expected += ["24 rows and 20 columns, .*24 rows and 21 columns"]
  for ending in expected:
    only([p for p in problems if re.search(ending, p)])


def test_swapped_folders_are_seen_by_content_not_by_mode(msrs):
  for name in "abcd":  # grey stored with three equal channels is still grey
    path = msrs / "train" / "ir" / f"{name}.png"
    Image.open(path).convert("RGB").save(path)
  assert report(msrs).problems == ()
  (msrs / "train" / "vi").rename(msrs / "train" / "was_vi")
  (msrs / "train" / "ir").rename(msrs / "train" / "vi")
  (msrs / "train" / "was_vi").rename(msrs / "train" / "ir")
  assert "swapped: visible is grey, infrared has colour (4)" in only(report(msrs).problems)


def test_a_little_colour_is_colour(msrs):
  grey = Image.open(msrs / "train" / "ir" / "a.png")
  grey.save(msrs / "train" / "vi" / "a.png")
  tinted = grey.convert("RGB")
  for value, problems in ((12, 0), (90, 1)):  # 12: below what JPEG's rounding may do
    tinted.paste((40, 40, 40 + value // 2), (0, 0, 2, 2))
    tinted.save(msrs / "train" / "ir" / "a.png")
    assert sum("swapped" in problem for problem in report(msrs).problems) == problems


def test_pictures_in_train_and_in_test_are_found_though_stored_differently(msrs):
  Image.open(msrs / "train" / "vi" / "b.png").convert("RGBA").save(msrs / "test" / "vi" / "y.png")
  shutil.copy(msrs / "train" / "vi" / "a.png", msrs / "train" / "vi" / "c.png")  # not reported
  found = report(msrs, fraction=0.0)
  assert only(found.problems) == "visible pictures in train and in test (1): b = y"


def test_constant_pictures_are_noted_and_are_no_duplicates(msrs):
  for part, name in (("train", "a"), ("test", "x")):
    Image.new("L", (20, 24), 7).save(msrs / part / "ir" / f"{name}.png")
  found = report(msrs)
  assert found.problems == ()
  assert only(found.notes) == "constant images (2): train/ir/a.png, test/ir/x.png"


def test_images_with_pixels_without_a_value_are_noted(msrs):
  path = msrs / "train" / "vi" / "c.png"
  pixels = np.array(Image.open(path).convert("RGBA"))
  pixels[3:5, 2, 3] = 0
  Image.fromarray(pixels).save(path)
  found = report(msrs)
  note = only(found.notes)
  assert found.problems == () and note.endswith("train/vi/c.png")
  assert note.startswith(
    "images with pixels without a value (NaN, nodata, alpha 0), which training"
  )
  assert "(1): " in note


def test_one_picture_given_as_both_is_found(msrs):
  draw(msrs / "train" / "vi" / "d.png", 0)
  draw(msrs / "train" / "ir" / "d.png", 0)
  assert only(report(msrs).problems) == "pairs of one picture, given as both (1): d"


def test_small_pairs_and_strays_are_notes(msrs):
  draw(msrs / "test" / "vi" / "x.png", 1, 3, size=(24, 15))
  draw(msrs / "test" / "ir" / "x.png", 2, size=(24, 15))
  (msrs / "test" / "vi" / "Thumbs.db").write_bytes(b"")
  found = report(msrs)
  assert found.problems == ()
  strays, small = found.notes
  assert strays == "files that belong to no pair (1): test/vi/Thumbs.db"
  assert small.startswith("pairs with a side below the crop of 16") and small.endswith("(1): x")


def test_a_missing_part_is_a_problem_and_a_missing_root_an_error(msrs):
  (msrs / "test" / "vi").rename(msrs / "test" / "visible")
  found = report(msrs)
  assert "no folder 'test/vi'" in only(found.problems) and found.counts["train"] == 3
  with pytest.raises(InputError, match="the root does not exist"):
    report(msrs / "absent")


def test_cases_in_several_splits_are_noted(tmp_path):
  for case in range(1, 4):
    for number, part in ((1, "train"), (2, "train"), (3, "test")):
      for folder, channels in (("PET", 3), ("MRI", 1)):
        path = tmp_path / "PET-MRI" / part / folder / f"{case}{number:03d}.png"
        draw(path, 10 * case + number + 100 * channels, channels)
  shipped = report(tmp_path, "pet_mri", split_by="shipped", test_fraction=0.3)
  assert only(shipped.notes) == "cases in several splits (3): 1, 2, 3"
  by_case = report(tmp_path, "pet_mri", split_by="case", test_fraction=0.3)
  assert by_case.notes == () and by_case.problems == ()


def test_what_cannot_be_seen_is_said(msrs, monkeypatch):
  for name in "ab":
    path = msrs / "train" / "vi" / f"{name}.png"
    Image.open(path).save(path.with_suffix(".jpg"), quality=95)
    path.unlink()
  found = report(msrs)
  assert found.problems == () and found.unseen == {"JPEG": 2}
  monkeypatch.setattr(inspect.damage, "is_strict", lambda: False)
  text = inspect.describe(found)
  assert "note: JPEG (2) have no checksum: damage to their pixels may not be seen" in text
  assert "with simplejpeg installed (the extra strict)" in text
  assert text.endswith("nothing wrong was seen")


def test_a_strict_decoder_is_asked_about_jpeg_alone(msrs, monkeypatch):
  path = msrs / "train" / "vi" / "a.png"
  Image.open(path).save(path.with_suffix(".jpg"))
  path.unlink()

  def refuse(file, label):
    raise InputError(f"{label}: damaged inside")

  monkeypatch.setattr(inspect.damage, "is_strict", lambda: True)
  monkeypatch.setattr(inspect.damage, "require_strict_jpeg", refuse)
  assert only(report(msrs).problems) == f"{msrs}/train/vi/a.jpg: damaged inside"


def test_subfolders_and_suffixes_are_checked(tmp_path):
  for name in ("s1/1", "s1/2", "s2/1"):
    draw(tmp_path / f"{name}_rgb.png", 1 + len(name) + ord(name[-1]) + ord(name[1]), 3)
    draw(tmp_path / f"{name}_ir.png", 500 + ord(name[-1]) + 7 * ord(name[1]))
  draw(tmp_path / "s2" / "2_rgb.png", 9, 3)
  (tmp_path / "s2" / "2_ir.heic").write_bytes(b"x")
  options = OPTIONS | {"visible_suffix": "_rgb", "infrared_suffix": "_ir"}
  found = report(tmp_path, "folder", 0.0, visible="", infrared="", **options)
  assert found.counts == {"train": 3} and found.notes == ()
  assert only(found.problems).startswith("1 left out for their format: s2/2_ir.heic; readable are")


def test_a_range_of_the_folder_is_that_of_the_training_images(msrs):
  """The counts of training images go from 5000 to 5255, those of the test images higher."""
  for part, names, low in (("train", "abcd", 5000), ("test", "xy", 9000)):
    for k, name in enumerate(names):
      counts = np.linspace(low, low + 255, 480).reshape(24, 20).astype(np.uint16)
      Image.fromarray(np.roll(counts, k)).save(msrs / part / "ir" / f"{name}.png")
  fields = {"name": "msrs", "root": str(msrs), "validation_fraction": 0.25}
  dataset = datasets.load(fields)
  for over, highest in (("folder", 5255), ("image", 9255)):
    text = inspect.check(dataset, CROP, "percentile", over).values
    low, high = re.search(r"infrared: .*?(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?) ", text).groups()
    assert 5000 <= float(low) < 5010 and highest - 10 < float(high) <= highest, text


def test_generated_pictures_have_no_files_to_check():
  found = inspect.check(datasets.load(street_scenes().to_dict()), CROP)
  assert found.problems == () and found.counts == {} and found.noun == "image"
  assert only(found.notes) == "the pictures are generated: there are no files to check"
  assert inspect.describe(found).startswith("Synthetic:")


def test_radiometric_files_are_checked_as_temperatures(msrs):
  whole = thermal_files.flir(thermal_files.scene(size=(24, 20)))
  by_dji = [(0xE1, b"http://ns.adobe.com/xap/1.0/\0 drone-dji:"), (0xE4, b"\xaa\x55\x12\x06")]
  for name, content in (
    ("a", whole), ("b", whole[: len(whole) // 3]), ("c", thermal_files.jpeg(by_dji, (24, 20))),
  ):  # fmt: skip
    (msrs / "train" / "ir" / f"{name}.png").unlink()
    (msrs / "train" / "ir" / f"{name}.jpg").write_bytes(content)
  found = report(msrs, fraction=0.0)
  assert found.kinds["infrared: grey, floating-point 32 bits"] == 1
  cut, other = found.problems
  assert "b.jpg: a damaged radiometric JPEG of FLIR: found 1 of 1 segments" in cut
  assert "c.jpg: a radiometric JPEG of DJI" in other
