"""Readers of labelled data sets on trees in the layouts that users have, and their check."""

import re

import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data.normalised import normalise
from cfi_jax.datasets import inspect, synthetic
from cfi_jax.datasets.labelled.classes import IGNORED
from cfi_jax.datasets.world import scenes as world
from cfi_jax.datasets.world.defaults import street_scenes
from cfi_jax.images.read import Header
from cfi_jax.images.write import write_image

SIZE = (12, 16)
RNG = np.random.default_rng(0)
VOC = (
  "<annotation><object><name>{}</name><bndbox><xmin>3</xmin><ymin>2</ymin><xmax>9</xmax>"
  "<ymax>7</ymax></bndbox></object></annotation>"
)


def picture(channels=3, size=SIZE):
  return Image.fromarray(np.squeeze(RNG.integers(0, 256, (*size, channels), np.uint8)))


def labels(low, high, size=SIZE):
  image = np.full(size, low, np.uint8)
  image[: size[0] // 2] = high
  return Image.fromarray(image)


def put(root, path, image):
  file = root / path
  file.parent.mkdir(parents=True, exist_ok=True)
  file.write_text(image) if isinstance(image, str) else image.save(file)


def load(name, root, **options):
  return datasets.load({"name": name, "root": str(root), "validation_fraction": 0.0, **options})


@pytest.mark.parametrize(
  "name, split, folders, high",
  [
    ("msrs_labels", "train", ("train/vi", "train/ir", "train/Segmentation_labels"), 8),
    ("msrs_labels", "test", ("test/vi", "test/ir", "test/Segmentation_labels"), 8),
    ("pst900", "train", ("train/rgb", "train/thermal", "train/labels"), 4),
    ("fmb", "test", ("test/Visible", "test/Infrared", "test/Label"), 14),
    ("mfnet", "train", ("RGB", "Thermal", "Label"), 8),
    ("mfnet", "validation", ("RGB", "Thermal", "Label"), 8),
  ],
)
def test_layouts_of_labels(tmp_path, name, split, folders, high):
  for folder, image in zip(folders, (picture(), picture(1), labels(0, high)), strict=True):
    put(tmp_path, f"{folder}/001.png", image)
  for part in ("train", "val", "test"):
    own = part == {"validation": "val"}.get(split, split)
    put(tmp_path, f"{part}.txt", "001.png\n" if own else "")
  source = load(name, tmp_path).source(split)
  sample = source.coloured(("visible",))[0]
  assert {n: x.shape for n, x in sample.items()} == {
    "visible": (*SIZE, 3), "infrared": (*SIZE, 1), "labels": (*SIZE, 1)
  }  # fmt: skip
  assert set(np.unique(sample["labels"])) == {0, high}
  assert source.check_headers()[0]["labels"] == Header(*SIZE, np.uint8)
  assert len(source.files()) == 3 and source[0]["visible"].shape == (*SIZE, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_of_four_channels_are_two(tmp_path, dtype):
  image = RNG.integers(1, np.iinfo(dtype).max, (*SIZE, 4), dtype)
  write_image(tmp_path / "images" / "1D.png", image)
  put(tmp_path, "labels/1D.png", labels(0, 2))
  for part, names in (("train", "1D\n"), ("val", ""), ("test", "")):
    put(tmp_path, f"{part}.txt", names)
  dataset = load("mfnet", tmp_path)
  sample = dataset.source("train").coloured(("visible",))[0]
  np.testing.assert_array_equal(sample["visible"], image[..., :3])
  np.testing.assert_array_equal(sample["infrared"], image[..., 3:])
  report = inspect.check(dataset, 8)
  assert report.problems == () and report.unseen == {}
  put(tmp_path, "images/1D.png", picture())
  with pytest.raises(InputError, match="has 3 channels of uint8; allowed in this layout: 4"):
    dataset.source("train").check_headers()


def test_depth_in_millimetres_by_the_rule_of_files(tmp_path):
  depth = np.linspace(500, 12000, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
  put(tmp_path, "RGB/1.jpg", picture())
  put(tmp_path, "Depth/1.png", Image.fromarray(depth))
  put(tmp_path, "Label/1.png", labels(0, 40))
  put(tmp_path, "train.txt", "1\n")
  put(tmp_path, "test.txt", "")
  source = normalise(
    load("nyudv2", tmp_path).source("train"), "infrared:window=0:10000", over="image"
  )
  sample = source[0]
  np.testing.assert_allclose(
    sample["infrared"][..., 0] / 65535, np.minimum(depth / 10000, 1), atol=1e-5
  )
  assert set(np.unique(sample["labels"])) == {39, IGNORED} and sample["labels"].dtype == np.uint8


@pytest.mark.parametrize("folder, file", [("Annotation", "xml"), ("labels", "txt")])
def test_boxes_of_m3fd(tmp_path, folder, file):
  put(tmp_path, "Vis/1.png", picture())
  put(tmp_path, "Ir/1.png", picture(1))
  # In both forms rows 1 to 7 and columns 2 to 9, a lamp.
  text = VOC.format("Lamp") if file == "xml" else f"4 {5.5 / 16} {4 / 12} {7 / 16} {6 / 12}\n"
  put(tmp_path, f"{folder}/1.{file}", text)
  source = load("m3fd_boxes", tmp_path, most_boxes=3).source("train")
  objects = source[0]["objects"]
  expected = np.zeros((*SIZE, 3), np.uint8)
  expected[1:7, 2:9, 0] = 5
  np.testing.assert_array_equal(objects, expected)
  assert source.check_headers()[0]["objects"] == Header(*SIZE, np.uint8, 3)
  before = source.fingerprint()
  put(tmp_path, f"{folder}/1.{file}", text + "\n")
  assert load("m3fd_boxes", tmp_path, most_boxes=3).source("train").fingerprint() != before


def test_a_list_of_classes_says_what_numbers_mean(tmp_path):
  put(tmp_path, "Vis/1.png", picture())
  put(tmp_path, "Ir/1.png", picture(1))
  put(tmp_path, "labels/1.txt", "3 0.5 0.5 0.5 0.5\n")
  put(tmp_path, "labels/classes.txt", "People\nCar\nBus\nLamp\nMotorcycle\nTruck\n")
  source = load("m3fd_boxes", tmp_path, most_boxes=3).source("train")
  assert source[0]["objects"].max() == 5  # the lamp, fifth of its authors' order
  put(tmp_path, "labels/classes.txt", "People\nCar\n")
  with pytest.raises(InputError, match=r"1.txt, line 1: class 3; allowed: 0 to 1 \(People, Car\)"):
    load("m3fd_boxes", tmp_path, most_boxes=3).source("train").check_headers()
  put(tmp_path, "labels/classes.txt", "Car\nPeople\nCar\n")
  with pytest.raises(InputError, match="classes.txt: the class 'Car' is given twice"):
    load("m3fd_boxes", tmp_path, most_boxes=3).source("train")
  put(tmp_path, "labels/classes.txt", "People\nCart\n")
  with pytest.raises(InputError, match="classes.txt: no class 'Cart'; valid: People, Car"):
    load("m3fd_boxes", tmp_path, most_boxes=3).source("train")


def test_boxes_of_llvip(tmp_path):
  for part, name in (("train", "010001"), ("test", "190001")):
    put(tmp_path, f"visible/{part}/{name}.jpg", picture())
    put(tmp_path, f"infrared/{part}/{name}.jpg", picture(1))
    put(tmp_path, f"Annotations/{name}.xml", VOC.format("person"))
  for split in ("train", "test"):
    source = load("llvip_boxes", tmp_path, most_boxes=1).source(split)
    assert len(source) == 1 and source[0]["objects"][1:7, 2:9].min() == 1


FOLDER = dict(
  visible="a", infrared="b", labels="c", boxes="d", class_names=("none", "car", "man"),
  first_label=0, ignored_labels=(255,), most_boxes=2,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
  for name in ("x", "y"):
    put(tmp_path, f"a/{name}.png", picture())
    put(tmp_path, f"b/{name}.png", picture(1))
    put(tmp_path, f"c/{name}.png", labels(0, 2))
    put(tmp_path, f"d/{name}.xml", VOC.format("car"))
  return tmp_path


def test_any_folders_give_labels_and_boxes(folder):
  dataset = load("labelled_folder", folder, **FOLDER)
  sample = dataset.source("train")[1]
  assert set(sample) == {"visible", "infrared", "labels", "objects"}
  assert sample["objects"].max() == 2 and sample["labels"].max() == 2
  report = inspect.check(dataset, 8)
  assert report.problems == () and report.counts == {"train": 2}
  assert not any("classes" in note for note in report.notes)
  for name in ("x", "y"):
    put(folder, f"c/{name}.png", labels(0, 255))  # a mask of which white is ignored
  report = inspect.check(dataset, 8)
  assert "classes that nothing is labelled with (1): man" in report.notes
  alone = load("labelled_folder", folder, **FOLDER | {"boxes": ""})
  assert set(alone.source("train")[0]) == {"visible", "infrared", "labels"}
  with pytest.raises(InputError, match="data.labels and data.boxes are both ''"):
    load("labelled_folder", folder, **FOLDER | {"boxes": "", "labels": ""})


def drawn(scale):
  image = np.zeros((24, 32), np.uint8)
  image[4:18, 6:28] = 2
  return Image.fromarray(image).resize((32 * scale, 24 * scale), Image.Resampling.BILINEAR)


@pytest.mark.parametrize(
  "path, content, words",
  [
    (
      "c/x.png",
      labels(0, 7),
      r"c/x.png: 96 pixels have the labels \[7\]; allowed: 0 to 2, and 255",
    ),
    ("c/x.png", labels(0, 2, (24, 32)), "c/x.png has 24 rows and 32 columns.*was it resized"),
    ("c/x.png", drawn(3), "along borders lie classes between those on both sides"),
    ("d/x.xml", VOC.format("cart"), "d/x.xml: no class 'cart'; valid: none, car, man"),
    ("d/x.xml", None, "1 of 2 images have no annotation in .*d .*: x"),
    ("c/x.png", None, "1 of 2 images in .* have no partner of the same name in c: x"),
  ],
)
def test_the_check_names_what_is_wrong_with_labels(folder, path, content, words):
  if content is None:
    (folder / path).unlink()
  else:
    put(folder, path, content)
  report = inspect.check(load("labelled_folder", folder, **FOLDER), 8)
  assert any(re.search(words, problem) for problem in report.problems), report
  if content is not None and "along borders" not in words:
    source = load("labelled_folder", folder, **FOLDER).source("train")
    with pytest.raises(InputError):
      source.check_headers()
      source[0]


def test_the_world_has_exact_labels():
  options = street_scenes().to_dict() | dict(
    name="synthetic_labels", size=32, scenes=3, validation_scenes=0, test_scenes=0
  )
  dataset = datasets.load(options)
  source = dataset.source("train")
  truth = synthetic.scenes(0, "train", dataset.options, range(3))
  for index in range(3):
    sample = source[index]
    objects, kind = truth.objects[index], truth.kind[index]
    for slot in range(dataset.slots):
      inside = objects[..., 0] == slot + 1
      np.testing.assert_array_equal(sample["objects"][..., slot], inside * (2 + kind[slot]))
      assert (sample["labels"][inside] == 1 + kind[slot]).all()
    assert (sample["labels"][objects == 0] == 0).all()
    np.testing.assert_array_equal(sample["carrier"], truth.carrier[index])
    picture = np.round(truth.pair.infrared[index] * 255)
    np.testing.assert_array_equal(sample["infrared"], picture)
  assert truth.objects.any() and truth.carrier.max() <= world.BOTH
  assert source.check_headers()[0]["objects"] == Header(32, 32, np.uint8, dataset.slots)
  assert len(dataset.source("test")) == 0
