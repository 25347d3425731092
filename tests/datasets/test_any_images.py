"""A data set of three images per sample, and one of a single folder: one class each, all doors."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import pipeline, resident
from cfi_jax.datasets import inspect, tfds_builders
from cfi_jax.datasets.files import FileDataset

OPTIONS = pipeline.Input(
  crop=8, flip=True, transpose=True, workers=0, threads=2, prefetch=2, device_gb=1
)
FOLDERS = {"rainy": ("rain", 3, "png"), "clear": ("gt", 3, "jpg"), "infrared": ("ir", 1, "bmp")}


class Toy(FileDataset):
  """Rainy, clear and infrared images, {train,test}/{rain,gt,ir}/NAME."""

  name = "toy_rain"
  layout = {"rainy": "{part}/rain", "clear": "{part}/gt", "infrared": "{part}/ir"}


class Single(FileDataset):
  """Thermal images alone."""

  name = "thermal"
  layout = {"thermal": "{part}/ir"}


@pytest.fixture
def toy(tmp_path, monkeypatch):
  """The folder of the toy data set, which is in the tables."""
  for cls in (Toy, Single):
    monkeypatch.setitem(datasets.DATASETS, cls.name, cls)
    monkeypatch.setitem(tfds_builders.BUILDERS, cls.name, tfds_builders.builder(cls))
  rng = np.random.default_rng(0)
  for part, names in (("train", "abcd"), ("test", "xy")):
    for name in names:
      for folder, channels, end in FOLDERS.values():
        path = tmp_path / part / folder / f"{name}.{end}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (10 + ord(name) % 4, 12, channels), np.uint8)
        Image.fromarray(pixels.squeeze()).save(path)
  return tmp_path


def load(root, name="toy_rain", fraction=0.25, **options):
  fields = {"name": name, "root": str(root), "validation_fraction": fraction}
  return datasets.load(fields | options)


def open_prepared(data_dir, builder):
  shipped = {"split_by": "shipped", "test_fraction": 0.0}
  return load(data_dir, "tfds", builder=builder, **shipped)


def test_the_folder_is_read_by_image_name(toy):
  dataset = load(toy)
  assert dataset.splits == ("train", "validation", "test")
  assert [len(dataset.source(split)) for split in dataset.splits] == [3, 1, 2]
  source = dataset.source("test")
  source.check_headers()
  assert source.names == ("x", "y")
  assert {name: image.shape for name, image in source.read(1).items()} == {
    "rainy": (11, 12, 3), "clear": (11, 12, 3), "infrared": (11, 12, 1),
  }  # fmt: skip
  assert {image.shape for image in source[1].values()} == {(11, 12, 1)}
  (toy / "test" / "gt" / "y.jpg").unlink()
  with pytest.raises(InputError, match="1 of 2 images in .*test/rain have no partner.*test/gt: y"):
    dataset.source("test")


@pytest.mark.parametrize("name", ["toy_rain", "thermal"])
def test_the_prepared_form_is_the_folder(toy, tmp_path, name):
  written = tfds_builders.prepare(name, str(toy), str(tmp_path / "tfds"))
  assert written == str(tmp_path / "tfds" / name / "1.0.0")
  plain, prepared = load(toy, name), open_prepared(tmp_path / "tfds", name)
  for split in plain.splits:
    a, b = plain.source(split), prepared.source(split)
    assert a.names == b.names and a.fingerprint() == b.fingerprint()
    for index in range(len(a)):
      ours, theirs = a.read(index), b.read(index)
      assert list(ours) == list(theirs) == list(plain.layout)
      for image in ours:
        np.testing.assert_array_equal(ours[image], theirs[image])


def test_the_resident_set_gives_the_samples_of_the_pipeline(toy):
  source = dataclasses.replace(load(toy).source("train"), colour=("rainy", "clear"))
  stretch = pipeline.Stretch(2, 0, 6)
  layout = resident.lay_out(source.check_headers(), OPTIONS.crop)
  canvases = resident.read(source, layout)
  cut = jax.jit(jax.vmap(lambda row: resident.cut(jax.device_put(canvases), row, OPTIONS.crop)))
  cuts = pipeline.train_cuts(source, layout.sizes, OPTIONS, 3, stretch)
  batches = pipeline.train_batches(source, OPTIONS, 3, stretch)
  for rows, batch in zip(cuts, batches, strict=True):
    found = cut(rows)
    shapes = {name: image.shape for name, image in found.items()}
    assert shapes == {"rainy": (2, 8, 8, 3), "clear": (2, 8, 8, 3), "infrared": (2, 8, 8, 1)}
    for name, image in batch.items():
      np.testing.assert_array_equal(found[name], image)


@pytest.mark.parametrize(("name", "noun"), [("toy_rain", "set"), ("thermal", "image")])
def test_check_reports_on_any_images(toy, name, noun):
  (toy / "test" / "ir" / "notes.txt").write_text("x")
  report = inspect.check(load(toy, name), 12)
  assert report.problems == () and report.counts == {"train": 3, "validation": 1, "test": 2}
  assert report.kinds[f"{'thermal' if name == 'thermal' else 'infrared'}: grey, 8 bits"] == 6
  assert len(report.kinds) == len(load(toy, name).layout)
  strays, small = report.notes
  assert strays == f"files that belong to no {noun} (1): test/ir/notes.txt"
  start, names = small.split(" (4): ")
  assert start == f"{noun}s with a side below the crop of 12, to be reflect-padded"
  assert sorted(names.split(", ")) == ["a", "d", "x", "y"]
  assert f"train: 3 {noun}s" in inspect.describe(report)
  (toy / "train" / "ir" / "d.bmp").write_bytes((toy / "test" / "ir" / "x.bmp").read_bytes())
  (problem,) = inspect.check(load(toy, name), 8).problems
  assert problem.endswith(" pictures in test and in validation (1): x = d")


def test_without_both_names_nothing_looks_swapped_or_given_twice(toy):
  for name in "ab":
    grey = Image.open(toy / "train" / "rain" / f"{name}.png").convert("L")
    grey.save(toy / "train" / "rain" / f"{name}.png")
    grey.save(toy / "train" / "ir" / f"{name}.bmp")
  assert inspect.check(load(toy), 8).problems == ()


def test_one_place_per_data_set():
  """The table, the prepared form's and TFDS's names are those of the classes."""
  assert all(cls.name == name for name, cls in datasets.DATASETS.items())
  assert tfds_builders.BUILDERS.keys() == {
    name for name, cls in datasets.DATASETS.items() if getattr(cls, "preparable", False)
  }
  for name, builder in tfds_builders.BUILDERS.items():
    assert builder.dataset is datasets.DATASETS[name] and builder.name == name
