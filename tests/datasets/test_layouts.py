import hashlib

import pytest
from command_line import SHARED
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError

real = pytest.mark.skipif(
  not (SHARED / "data").is_dir(), reason="needs the real images in ../shared/data"
)


def tree(root, paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6)).save(root / path)


def load(name, root, fraction=0.0, **options):
  return datasets.load(
    {"name": name, "root": str(root), "validation_fraction": fraction, **options}
  )


def medical(name, root, fraction=0.0, split_by="case", test_fraction=0.25):
  return load(name, root, fraction, split_by=split_by, test_fraction=test_fraction)


def paths_of(source):
  return [(r.files["visible"].path, r.files["infrared"].path) for r in source.records]


@pytest.mark.parametrize(
  "name, split, visible, infrared",
  [
    ("msrs", "train", "train/vi/1D.png", "train/ir/1D.png"),
    ("msrs", "test", "test/vi/1D.png", "test/ir/1D.png"),
    ("llvip", "train", "visible/train/010001.jpg", "infrared/train/010001.jpg"),
    ("llvip", "test", "visible/test/190001.jpg", "infrared/test/190001.jpg"),
    ("m3fd", "train", "Vis/00000.png", "Ir/00000.png"),
    ("tno", "test", "vi/01.png", "ir/01.png"),
  ],
)
def test_layout(tmp_path, name, split, visible, infrared):
  tree(tmp_path, [visible, infrared])
  tree(tmp_path, ["Annotation/00000.png"])
  assert paths_of(load(name, tmp_path).source(split)) == [(visible, infrared)]


def test_a_split_needs_its_own_folders_alone(tmp_path):
  tree(tmp_path, ["train/vi/1.png", "train/ir/1.png"])
  dataset = load("msrs", tmp_path)
  assert len(dataset.source("train")) == 1
  with pytest.raises(InputError, match="no folder 'test/vi'"):
    dataset.source("test")


def test_names_in_lists_may_be_composed_otherwise_than_files(tmp_path):
  decomposed, composed = "cafe\u0301", "caf\u00e9"
  tree(tmp_path, [f"{f}/{n}.jpg" for f in ("crop_LR_visible", "cropinfrared")
                  for n in (decomposed, "b", "stray")])  # fmt: skip
  (tmp_path / "train.txt").write_text(f"{composed}.jpg")
  (tmp_path / "test.txt").write_text("b")
  dataset = load("roadscene", tmp_path)
  assert dataset.source("train").names == (decomposed,)
  assert dataset.listing("test").strays == ("crop_LR_visible/stray.jpg", "cropinfrared/stray.jpg")


def test_tno_is_a_test_set_only(tmp_path):
  assert load("tno", tmp_path).splits == ("test",)
  with pytest.raises(InputError, match="no split 'train'; it offers test"):
    load("tno", tmp_path).source("train")
  with pytest.raises(InputError, match="must be 0"):
    load("tno", tmp_path, 0.1)


@pytest.fixture
def roads(tmp_path):
  for name in "abcd":
    tree(tmp_path, [f"crop_LR_visible/{name}.jpg", f"cropinfrared/{name}.jpg"])
  (tmp_path / "train.txt").write_text("\ufeffb\r\na.jpg\n\n", "utf-8")
  (tmp_path / "test.txt").write_text("c")
  return tmp_path


def test_roadscene_follows_its_lists(roads):
  dataset = load("roadscene", roads)
  assert dataset.source("train").names == ("a", "b")
  assert dataset.source("test").names == ("c",)
  assert dataset.listing("test").strays == ("crop_LR_visible/d.jpg", "cropinfrared/d.jpg")


def test_roadscene_lists_that_leak_or_name_nothing_are_refused(roads):
  (roads / "test.txt").write_text("c\nb\ne\n")
  with pytest.raises(InputError, match="1 names are in train.txt and in test.txt: b"):
    load("roadscene", roads).source("train")
  with pytest.raises(InputError, match="1 names of test.txt have no pair of images: e"):
    load("roadscene", roads).source("test")
  (roads / "test.txt").unlink()
  with pytest.raises(InputError, match="test.txt is missing"):
    load("roadscene", roads).source("train")


@pytest.fixture
def cases(tmp_path):
  """Eight cases of three slices; the second slice of each is shipped for testing."""
  for case in range(1, 9):
    for number, part in ((9, "train"), (10, "test"), (11, "train")):
      name = f"{case}{number:03d}.png"
      tree(tmp_path / "PET-MRI" / part, [f"PET/{name}", f"MRI/{name}"])
  tree(tmp_path / "PET-MRI" / "test", ["41101.jpg"])
  return tmp_path


def cases_by_split(dataset):
  return {s: {dataset.group(n) for n in dataset.source(s).names} for s in dataset.splits}


def test_medical_split_by_case_shares_no_case(cases):
  dataset = medical("pet_mri", cases, 0.25)
  assert dataset.splits == ("train", "validation", "test")
  found = cases_by_split(dataset)
  assert [len(found[s]) for s in dataset.splits] == [4, 2, 2]
  assert set.union(*found.values()) == set("12345678")
  assert [len(dataset.source(s)) for s in dataset.splits] == [12, 6, 6]


def test_medical_shipped_split_is_kept_with_whole_cases_for_validation(cases):
  dataset = medical("pet_mri", cases, 0.25, split_by="shipped")
  assert len(dataset.source("test")) == 8
  assert all(name.endswith("010") for name in dataset.source("test").names)
  found = cases_by_split(dataset)
  assert len(found["validation"]) == 2 and not found["validation"] & found["train"]


def test_medical_colour_image_is_visible_and_strays_are_tolerated(cases):
  dataset = medical("pet_mri", cases)
  visible, infrared = paths_of(dataset.source("test"))[0]
  assert "/PET/" in visible and "/MRI/" in infrared
  assert dataset.listing("test").strays == ("PET-MRI/test/41101.jpg",)


def test_medical_refuses_what_it_cannot_split(cases):
  with pytest.raises(InputError, match="must be one of case, shipped"):
    medical("pet_mri", cases, split_by="slice")
  with pytest.raises(InputError, match=r"test_fraction=1\.0: must be in"):
    medical("pet_mri", cases, test_fraction=1)
  tree(cases / "PET-MRI" / "test", ["PET/1009.png", "MRI/1009.png"])
  with pytest.raises(InputError, match="in both train and test: 1009"):
    medical("pet_mri", cases).source("train")
  (cases / "PET-MRI" / "test" / "PET" / "1009.png").rename(cases / "PET-MRI/test/PET/brain.png")
  (cases / "PET-MRI" / "test" / "MRI" / "1009.png").rename(cases / "PET-MRI/test/MRI/brain.png")
  with pytest.raises(InputError, match="brain: expected a case number"):
    medical("pet_mri", cases).source("train")


@pytest.fixture
def kinds(tmp_path):
  """Five cases of two slices of each kind; neighbouring kinds share two case numbers."""
  for kind, first in (("CT", 1), ("PET", 4), ("SPECT", 7)):
    for case in range(first, first + 5):
      for number, part in ((9, "train"), (10, "test")):
        name = f"{case}{number:03d}.png"
        tree(tmp_path / f"{kind}-MRI" / part, [f"{kind}/{name}", f"MRI/{name}"])
  return tmp_path


def test_harvard_holds_out_the_cases_of_each_kind_and_trains_on_none_of_them(kinds):
  together = medical("harvard", kinds, 0.2, test_fraction=0.4)
  found = cases_by_split(together)
  assert not found["train"] & found["test"] and not found["train"] & found["validation"]
  alone = {
    f"{name[:-4].upper()}-MRI_{n}"
    for name in ("ct_mri", "pet_mri", "spect_mri")
    for n in medical(name, kinds, test_fraction=0.4).source("test").names
  }
  assert set(together.source("test").names) == alone and len(alone) == 12
  (visible, infrared), *_ = paths_of(medical("harvard", kinds, split_by="shipped").source("test"))
  assert (visible, infrared) == ("CT-MRI/test/CT/1010.png", "CT-MRI/test/MRI/1010.png")


KINDS = {"ct_mri": "CT", "pet_mri": "PET", "spect_mri": "SPECT"}


@pytest.mark.parametrize("split_by", ["case", "shipped"])
def test_harvard_validates_on_the_cases_that_each_kind_by_itself_does(kinds, split_by):
  options = dict(fraction=0.2, test_fraction=0.2, split_by=split_by)
  together = medical("harvard", kinds, **options)
  own = {
    f"{kind}-MRI_{name}"
    for set_, kind in KINDS.items()
    for name in medical(set_, kinds, **options).source("validation").names
  }
  found, held_out = cases_by_split(together), set(together.source("validation").names)
  in_tests = found["test"] if split_by == "case" else set()
  assert held_out == {name for name in own if together.group(name) not in in_tests}
  assert not found["train"] & found["validation"]
  assert found["validation"] and found["train"]


def test_harvard_says_which_kind_has_no_case_left_to_train_on(tmp_path):
  a, b, c, d, e = sorted("12345", key=lambda case: hashlib.sha256(case.encode()).hexdigest())
  # Of two cases the first is held out, and PET's second is CT's first.
  for kind, cases in (("CT", (b, c)), ("PET", (a, b)), ("SPECT", (d, e))):
    names = [f"{folder}/{case}009.png" for folder in (kind, "MRI") for case in cases]
    tree(tmp_path / f"{kind}-MRI" / "train", names[::2])
    tree(tmp_path / f"{kind}-MRI" / "test", names[1::2])
  with pytest.raises(InputError, match="no case of PET-MRI is left to train on, since .*=0.5"):
    medical("harvard", tmp_path, test_fraction=0.5).source("train")


def test_shipped_names_need_no_case_where_none_is_held_out(cases):
  tree(cases / "PET-MRI" / "train", ["PET/brain.png", "MRI/brain.png"])
  assert "brain" in medical("pet_mri", cases, split_by="shipped").source("train").names


def test_harvard_names_cannot_be_mixed_up(kinds):
  tree(kinds / "CT-MRI" / "test", ["CT/1009.png", "MRI/1009.png"])
  with pytest.raises(InputError, match="in both train and test: CT-MRI_1009"):
    medical("harvard", kinds).source("train")


@real
def test_real_roots_have_the_known_counts():
  road = load("roadscene", (SHARED / "data") / "roadscene", 0.1)
  assert [len(road.source(s)) for s in road.splits] == [154, 17, 50]
  assert len(load("tno", (SHARED / "data") / "tno").source("test")) == 42
  msrs = load("msrs", (SHARED / "data") / "msrs_sample")
  assert [len(msrs.source(s)) for s in msrs.splits] == [4, 2]
  for source in (road.source("test"), msrs.source("train")):
    source.check_headers()


@real
@pytest.mark.parametrize(
  "name, pairs, count", [("ct_mri", 184, 10), ("pet_mri", 269, 3), ("spect_mri", 357, 15)]
)
def test_real_medical_sets_are_split_by_case(name, pairs, count):
  dataset = medical(name, (SHARED / "data") / "harvard_medical", 0.1, test_fraction=0.2)
  found = cases_by_split(dataset)
  assert sum(len(f) for f in found.values()) == len(set.union(*found.values())) == count
  assert all(found.values())
  assert sum(len(dataset.source(s)) for s in dataset.splits) == pairs


@real
def test_real_harvard_sets_together_leak_no_case():
  dataset = medical("harvard", (SHARED / "data") / "harvard_medical", test_fraction=0.2)
  found = cases_by_split(dataset)
  assert not found["train"] & found["test"]
  # 810 slices; those of held-out cases in the training sets of other kinds are in neither.
  assert [len(dataset.source(s)) for s in dataset.splits] == [576, 218]
  dataset = medical("harvard", (SHARED / "data") / "harvard_medical", 0.1, test_fraction=0.2)
  assert [len(dataset.source(s)) for s in dataset.splits] == [446, 113, 218]
  shipped = medical("harvard", (SHARED / "data") / "harvard_medical", split_by="shipped")
  assert [len(shipped.source(s)) for s in shipped.splits] == [738, 72]


@real
def test_real_grey_stored_as_rgb_is_read_exactly():
  source = load("tno", (SHARED / "data") / "tno").source("test")
  with Image.open((SHARED / "data") / "tno" / "vi" / "01.png") as picture:
    assert picture.mode == "RGB"
    green = picture.getchannel("G").tobytes()
  assert source[0]["visible"].tobytes() == green
