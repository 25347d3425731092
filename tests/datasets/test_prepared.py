import json
import pathlib
import sys
import tarfile

import numpy as np
import pytest
from command_line import ROOT
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import pipeline
from cfi_jax.datasets import tfds_builders
from cfi_jax.datasets.prepared import preparable

RNG = np.random.default_rng(0)
OPTIONS = pipeline.Input(
  crop=8, flip=True, transpose=True, workers=0, threads=1, prefetch=1, device_gb=0
)
MEDICAL = dict(split_by="case", test_fraction=0.25)
LAYOUTS = {  # per builder: folder of visible and of infrared images, per shipped part
  "msrs": [("train/vi", "train/ir"), ("test/vi", "test/ir")],
  "roadscene": [("crop_LR_visible", "cropinfrared")],
  "tno": [("vi", "ir")],
  "m3fd": [("Vis", "Ir")],
  "llvip": [("visible/train", "infrared/train"), ("visible/test", "infrared/test")],
  "ct_mri": [(f"CT-MRI/{part}/CT", f"CT-MRI/{part}/MRI") for part in ("train", "test")],
  "pet_mri": [(f"PET-MRI/{part}/PET", f"PET-MRI/{part}/MRI") for part in ("train", "test")],
  "spect_mri": [(f"SPECT-MRI/{part}/SPECT", f"SPECT-MRI/{part}/MRI") for part in ("train", "test")],
}


FIRST = ["dbf436617fe4a646", "853e3fbc717a8710", "576eaf190c76293e"]


def make_tree(root, name):
  for part, folders in enumerate(LAYOUTS[name]):
    for case in range(1, 5):
      for folder, channels, end in zip(folders, (3, 1), ("jpg", "png"), strict=True):
        path = pathlib.Path(root, folder, f"{case}00{part}.{end}")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (10 + case, 12, channels), np.uint8)
        Image.fromarray(pixels.squeeze()).save(path)
  if name == "roadscene":
    pathlib.Path(root, "train.txt").write_text("1000\n3000\n4000\n")
    pathlib.Path(root, "test.txt").write_text("2000")
  pathlib.Path(root, LAYOUTS[name][0][0], "Thumbs.db").write_bytes(b"x")


def options(name):
  fraction = 0.0 if name == "tno" else 0.25
  extra = MEDICAL if name.endswith("mri") else {}
  return {"validation_fraction": fraction, **extra}


def both(name, root, data_dir):
  """The dataset as folder and as prepared records."""
  plain = datasets.load({"name": name, "root": str(root), **options(name)})
  shipped = {"split_by": "shipped", "test_fraction": 0.0}
  read = {"name": "tfds", "builder": name, "root": str(data_dir), **shipped, **options(name)}
  return plain, datasets.load(read)


def assert_equal_sources(a, b):
  assert a.names == b.names and a.fingerprint() == b.fingerprint()
  assert a.check_headers() == b.check_headers()
  for x, y in zip((a[i] for i in range(len(a))), (b[i] for i in range(len(b))), strict=True):
    assert list(x) == list(y) == ["visible", "infrared"]
    for name in x:
      np.testing.assert_array_equal(x[name], y[name])


def test_every_data_set_that_can_be_prepared_has_a_builder_of_its_name():
  assert list(preparable(datasets.DATASETS)) == list(LAYOUTS)
  assert list(tfds_builders.BUILDERS) == list(LAYOUTS)  # names of folders on users' disks
  assert all(builder.name == name for name, builder in tfds_builders.BUILDERS.items())


@pytest.mark.parametrize("name", LAYOUTS)
def test_prepared_records_equal_the_folder(tmp_path, name):
  make_tree(tmp_path / "raw", name)
  written = tfds_builders.prepare(name, str(tmp_path / "raw"), str(tmp_path / "tfds"))
  assert list(pathlib.Path(written).glob("*.array_record*"))
  plain, prepared = both(name, tmp_path / "raw", tmp_path / "tfds")
  assert plain.splits == prepared.splits and prepared.title == f"{plain.title} (tfds)"
  for part in prepared.parts:
    assert plain.listing(part) == prepared.listing(part)
  for split in plain.splits:
    assert_equal_sources(plain.source(split), prepared.source(split))
  assert "tensorflow" not in sys.modules


def test_training_batches_are_equal_too(tmp_path):
  make_tree(tmp_path / "raw", "msrs")
  tfds_builders.prepare("msrs", str(tmp_path / "raw"), str(tmp_path / "tfds"))
  streams = [
    pipeline.train_batches(d.source("train"), OPTIONS, 1, pipeline.Stretch(2, 0, 4))
    for d in both("msrs", tmp_path / "raw", tmp_path / "tfds")
  ]
  for a, b in zip(*streams, strict=True):
    for name in ("visible", "infrared"):
      np.testing.assert_array_equal(a[name], b[name])


def test_files_of_the_first_version_are_still_read(tmp_path):
  """Written, from the folder beside them, when records knew two images only."""
  with tarfile.open(ROOT / "tests" / "fixtures" / "prepared_1.tar.xz") as archive:
    archive.extractall(tmp_path, filter="data")
  plain, prepared = both("msrs", tmp_path / "raw", tmp_path / "tfds")
  for split in ("train", "validation", "test"):
    assert_equal_sources(plain.source(split), prepared.source(split))
  assert prepared.listing("train").strays == ("train/vi/Thumbs.db",)
  prints = [plain.source(split).fingerprint()[:16] for split in plain.splits]
  assert prints == FIRST  # as work directories of that version name them
  written = tfds_builders.prepare("msrs", str(tmp_path / "raw"), str(tmp_path / "tfds"))
  assert written == str(tmp_path / "tfds" / "msrs" / "1.0.0")  # kept: it holds the same images


def test_written_files_are_kept_only_for_the_same_images(tmp_path):
  make_tree(tmp_path / "raw", "m3fd")
  arguments = "m3fd", str(tmp_path / "raw"), str(tmp_path / "tfds")
  written = pathlib.Path(tfds_builders.prepare(*arguments))
  before = (written / "dataset_info.json").stat().st_mtime_ns
  tfds_builders.prepare(*arguments)
  assert (written / "dataset_info.json").stat().st_mtime_ns == before
  for folder, end in (("Vis", "jpg"), ("Ir", "png")):
    (tmp_path / "raw" / folder / f"4000.{end}").unlink()
  with pytest.raises(InputError, match="was written from other files"):
    tfds_builders.prepare(*arguments)


def test_unusable_input_is_refused_before_anything_is_written(tmp_path):
  with pytest.raises(InputError, match="must be one of msrs, roadscene"):
    tfds_builders.prepare("mrs", "x", str(tmp_path / "tfds"))
  make_tree(tmp_path / "raw", "m3fd")
  (tmp_path / "raw" / "Vis" / "1000.jpg").write_bytes(b"")
  with pytest.raises(InputError, match="1000.jpg: the file is empty"):
    tfds_builders.prepare("m3fd", str(tmp_path / "raw"), str(tmp_path / "tfds"))
  assert not (tmp_path / "tfds").exists()


def tfds(root, **changed):
  fields = {"builder": "m3fd", "validation_fraction": 0.0, "split_by": "shipped"}
  return datasets.load(
    {"name": "tfds", "root": str(root), "test_fraction": 0.0, **fields, **changed}
  )


def test_reading_refuses_what_is_not_there(tmp_path):
  with pytest.raises(InputError, match="python -m cfi_jax.prepare --dataset=m3fd"):
    tfds(tmp_path).source("train")
  with pytest.raises(InputError, match="builder='mrs': must be one of msrs"):
    tfds(tmp_path, builder="mrs")
  with pytest.raises(InputError, match="split_by='shipped' and test_fraction=0 only"):
    tfds(tmp_path, split_by="case")


def test_records_that_are_not_the_listed_ones_are_refused(tmp_path):
  make_tree(tmp_path / "raw", "m3fd")
  written = tfds_builders.prepare("m3fd", str(tmp_path / "raw"), str(tmp_path / "tfds"))
  metadata = pathlib.Path(written, "metadata.json")
  listed = json.loads(metadata.read_text())
  listed["listings"]["train"]["records"].reverse()
  metadata.write_text(json.dumps(listed))
  with pytest.raises(InputError, match="record 0 of train is '1000', expected '4000'"):
    tfds(tmp_path / "tfds").source("train")[0]
