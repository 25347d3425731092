import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Record
from cfi_jax.data.naming import OPTIONS
from cfi_jax.datasets.splits import hold_out


def write(path, value=0, size=(8, 6), mode="L"):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size, value if mode == "L" else (value, value, 255 - value)).save(path)


def folder(root, **options):
  fields = dict(root=str(root), visible="vi", infrared="ir", validation_fraction=0.0, **OPTIONS)
  return datasets.load({"name": "folder", **fields, **options})


def msrs(**options):
  return datasets.load({"name": "msrs", "root": "x", "validation_fraction": 0.0, **options})


@pytest.fixture
def pairs(tmp_path):
  """Six pairs whose grey values are their numbers; infrared ones are 100 more."""
  for number in range(6):
    write(tmp_path / "vi" / f"{number}.png", number)
    write(tmp_path / "ir" / f"{number}.BMP", number + 100)
  return tmp_path


def test_pairs_are_made_by_stem_and_sorted(pairs):
  source = folder(pairs).source("train")
  assert source.names == ("0", "1", "2", "3", "4", "5") and len(source) == 6
  for number in range(6):
    sample = source[number]
    assert list(sample) == ["visible", "infrared"]
    assert sample["visible"].shape == sample["infrared"].shape == (6, 8, 1)
    assert np.all(sample["visible"] == number) and np.all(sample["infrared"] == number + 100)
  source.check_headers()


def test_colour_is_reduced_to_luma(pairs):
  write(pairs / "vi" / "0.png", 200, mode="RGB")
  source = folder(pairs).source("train")
  assert np.all(source[0]["visible"] == (16384 * 200 - 1868 * 145 + 8192) >> 14)
  assert [image.shape for image in source.read(0).values()] == [(6, 8, 3), (6, 8, 1)]


def test_named_images_stay_in_colour(pairs):
  write(pairs / "vi" / "0.png", 200, mode="RGB")
  source = dataclasses.replace(folder(pairs).source("train"), colour=("visible",))
  assert source[0]["visible"].shape == source[1]["visible"].shape == (6, 8, 3)  # 1 is grey
  assert source[0]["visible"][0, 0].tolist() == [200, 200, 55]
  assert source[1]["visible"][0, 0].tolist() == [1, 1, 1] and source[0]["infrared"].shape[2] == 1
  headers = source.check_headers()
  assert {(h["visible"].channels, h["infrared"].channels) for h in headers} == {(3, 1)}
  assert source.fingerprint() == folder(pairs).source("train").fingerprint()
  with pytest.raises(InputError, match="'visable'; the images are visible, infrared"):
    dataclasses.replace(source, colour=("visable",))


def test_names_without_partner_are_listed_with_counts(pairs):
  for number in range(12):
    write(pairs / "vi" / f"more{number:02d}.png")
  (pairs / "ir" / "3.BMP").unlink()
  write(pairs / "ir" / "lonely.png")
  with pytest.raises(InputError) as error:
    folder(pairs).source("train")
  text = str(error.value)
  assert "13 of 18 images" in text and "3, more00" in text and "and 3 more" in text
  assert "1 of 6 images" in text and "lonely" in text


def test_two_files_of_one_stem_are_refused(pairs):
  write(pairs / "vi" / "0.jpg")
  with pytest.raises(InputError, match=r"two images of one name: vi/0.jpg and vi/0.png"):
    folder(pairs).source("train")


def test_other_files_are_strays(pairs):
  for name in ("Thumbs.db", ".DS_Store", "._0.png"):
    (pairs / "vi" / name).write_bytes(b"x")
  (pairs / "ir" / "notes").mkdir()
  assert len(folder(pairs).source("train")) == 6
  assert folder(pairs).listing("train").strays == ("vi/.DS_Store", "vi/._0.png", "vi/Thumbs.db")


def test_missing_and_empty_folders_say_what_was_looked_for(tmp_path):
  with pytest.raises(InputError, match="the root does not exist"):
    folder(tmp_path / "absent").source("train")
  with pytest.raises(InputError, match="no folder 'vi'.*it is empty"):
    folder(tmp_path).source("train")
  (tmp_path / "Visible").mkdir()
  with pytest.raises(InputError, match="no folder 'vi'.*it holds Visible"):
    folder(tmp_path).source("train")
  for name in ("vi", "ir"):
    (tmp_path / name).mkdir()
  with pytest.raises(InputError, match="no image in"):
    folder(tmp_path).source("train")
  write(tmp_path / "vi" / "a.png")
  write(tmp_path / "ir" / "b.png")
  with pytest.raises(InputError, match="no pair of equally named images"):
    folder(tmp_path).source("train")
  with pytest.raises(InputError, match="data root is empty"):
    folder("").source("train")


def test_pair_of_two_sizes_names_both(pairs):
  write(pairs / "ir" / "2.BMP", size=(8, 7))
  source = folder(pairs).source("train")
  for look in (source.check_headers, lambda: source[2]):
    with pytest.raises(InputError) as error:
      look()
    text = str(error.value)
    assert "vi/2.png has 6 rows and 8 columns" in text
    assert "ir/2.BMP has 7 rows and 8 columns" in text


def test_check_headers_lists_every_problem_up_to_twenty(tmp_path):
  for number in range(30):
    write(tmp_path / "vi" / f"{number:02d}.png")
    write(tmp_path / "ir" / f"{number:02d}.png")
  source = folder(tmp_path).source("train")
  noise = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
  Image.fromarray(noise).save(tmp_path / "vi" / "00.png")
  os.truncate(tmp_path / "vi" / "00.png", 70)
  (tmp_path / "ir" / "07.png").write_bytes(b"")
  (tmp_path / "ir" / "08.png").unlink()
  with pytest.raises(InputError) as error:
    source.check_headers()
  lines = str(error.value).splitlines()
  assert len(lines) == 4 and "3 of 30 pairs" in lines[0]
  assert "vi/00.png: cannot be read" in lines[1] and "07.png: the file is empty" in lines[2]
  assert "08.png: No such file" in lines[3]
  for number in range(30):
    (tmp_path / "ir" / f"{number:02d}.png").write_bytes(b"")
  with pytest.raises(InputError, match="and 10 more"):
    source.check_headers()


def test_fingerprint_depends_on_names_and_sizes_alone(pairs, tmp_path):
  source = folder(pairs).source("train")
  before = source.fingerprint()
  assert dataclasses.replace(source, records=source.records[::-1]).fingerprint() == before
  assert before == folder(pairs, validation_fraction=0.0).source("train").fingerprint()
  write(pairs / "ir" / "0.BMP", 55)  # BMP: other pixels, same size
  assert folder(pairs).source("train").fingerprint() == before
  write(pairs / "ir" / "0.BMP", size=(80, 60))
  resized = folder(pairs).source("train").fingerprint()
  for side, end in (("vi", "png"), ("ir", "BMP")):
    (pairs / side / f"0.{end}").rename(pairs / side / f"9.{end}")
  renamed = folder(pairs).source("train").fingerprint()
  assert len({before, resized, renamed}) == 3 and len(before) == 64


def records(names):
  return [
    Record(name, {"visible": File(f"vi/{name}", 1), "infrared": File(f"ir/{name}", 1)})
    for name in names
  ]


def test_hold_out_keeps_groups_whole_and_ignores_the_order():
  given = records(f"{case}_{number}" for case in range(20) for number in range(3))

  def case(name):
    return name.split("_")[0]

  kept, held = hold_out(given, 0.25, case, "fraction")
  assert len(held) == 15 and len(kept) == 45
  assert not {case(r.name) for r in kept} & {case(r.name) for r in held}
  backwards = hold_out(given[::-1], 0.25, case, "fraction")
  assert backwards[1] == held[::-1] and backwards[0] == kept[::-1]
  more = hold_out(given, 0.5, case, "fraction")[1]
  assert {record.name for record in held} < {record.name for record in more}


def test_hold_out_never_takes_nothing_or_everything():
  kept, held = hold_out(records("abc"), 0.01, str, "fraction")
  assert (len(kept), len(held)) == (2, 1)
  with pytest.raises(InputError, match="fraction=0.9 would hold out all 1"):
    hold_out(records("a"), 0.9, str, "fraction")


def test_validation_is_carved_out_of_train(pairs):
  dataset = folder(pairs, validation_fraction=0.34)
  assert dataset.splits == ("train", "validation")
  train, held = (set(dataset.source(split).names) for split in dataset.splits)
  assert len(train) == 4 and len(held) == 2 and train | held == set("012345")
  assert set(folder(pairs, validation_fraction=0.34).source("validation").names) == held


def test_unavailable_splits_name_the_available(pairs):
  for split in ("test", "validation", "training"):
    with pytest.raises(InputError, match=f"no split '{split}'; it offers train$"):
      folder(pairs).source(split)


def test_load_lists_what_is_valid():
  for name in ("mrs", None):
    with pytest.raises(InputError, match="must be one of msrs, roadscene, .*synthetic"):
      datasets.load({"name": name})
  with pytest.raises(
    InputError, match="unknown 'rot'.*'root'.*, missing 'root'; valid keys: root, validation_fr"
  ):
    datasets.load({"name": "msrs", "rot": "x", "validation_fraction": 0.1})
  with pytest.raises(InputError, match="data.root is 3; it must be a str"):
    msrs(root=3)
  with pytest.raises(InputError, match="data.validation_fraction is True; it must be a float"):
    msrs(validation_fraction=True)
  for fraction in (-0.1, 1, 1.5):
    with pytest.raises(InputError, match="must be in"):
      msrs(validation_fraction=fraction)
  with pytest.raises(InputError, match="same folder"):
    folder("x", infrared="vi").source("train")


def test_one_folder_with_suffixes_in_subfolders_is_a_data_set(tmp_path):
  for number, sequence in enumerate(("a", "b", "b/c")):
    write(tmp_path / sequence / "7_vis.png", number)
    write(tmp_path / sequence / "07_ir.png", number + 100)
  rule = dict(visible_suffix="_vis", infrared_suffix="_ir", match="number")
  source = folder(tmp_path, visible="", infrared="", **rule).source("train")
  assert source.names == ("a/7", "b/7", "b/c/7")
  assert np.all(source[2]["visible"] == 2) and np.all(source[2]["infrared"] == 102)
  source.check_headers()
  with pytest.raises(InputError, match="differ only in zeros: --config.data.match=number pairs"):
    folder(tmp_path, visible="", infrared="", **rule | {"match": "name"}).source("train")
