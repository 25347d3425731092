"""Sources of any pixel type: what a training step gets of them."""

import dataclasses

import numpy as np
import pytest
import tifffile
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import naming, pipeline, resident
from cfi_jax.data.listing import FolderStore
from cfi_jax.data.normalised import normalise
from cfi_jax.data.source import FileSource
from cfi_jax.datasets import inspect

Y, X = np.mgrid[:24, :20]
OPTIONS = pipeline.Input(
  crop=16, flip=True, transpose=True, workers=0, threads=1, prefetch=1, device_gb=0
)


def hot(k):
  return np.exp(-((Y - 4 * k) ** 2 + (X - 8) ** 2) / 40)


@pytest.fixture
def folder(tmp_path):
  """Four pairs: 8-bit visible, and infrared counts that rise from frame to frame."""
  for name in ("visible", "infrared"):
    (tmp_path / name).mkdir()
  for k in range(4):
    visible = np.random.default_rng(k).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(visible).save(tmp_path / "visible" / f"{k}.png")
    counts = (29_000 + 100 * k + 1500 * hot(k)).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / "infrared" / f"{k}.png")
  return tmp_path


def dataset(root, fraction=0.0):
  return datasets.load(
    {"name": "folder", "root": str(root), "visible": "visible", "infrared": "infrared"}
    | {"validation_fraction": fraction, **naming.OPTIONS}
  )


def check(root, **options):
  return inspect.check(dataset(root), 16, **options)


def test_counts_are_stretched_and_8_bits_left_alone(folder):
  source = dataset(folder).source("train")
  found = normalise(source, "auto", "image")
  assert len(found) == 4 and found.names == source.names and found.title == source.title
  assert found.fingerprint() == source.fingerprint()
  for k in range(4):
    sample = found[k]
    np.testing.assert_array_equal(sample["visible"], source[k]["visible"])
    low, high = np.percentile(hot(k), (1, 99))
    unit = sample["infrared"][..., 0] / 65535
    assert np.abs(unit - np.clip((hot(k) - low) / (high - low), 0, 1)).max() < 1e-3
    np.testing.assert_array_equal(found.read(k)["infrared"], source.read(k)["infrared"])
  depths = {name: header.depth for name, header in found.check_headers()[0].items()}
  assert depths == {"visible": np.uint8, "infrared": np.uint16}
  assert found.description == (
    "Folder train: values: visible: 4 of 8 bits, 0..255 taken as 0..1; "
    "infrared: 4 of 16 bits, each by the rule auto"
  )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.uint32])
def test_samples_of_any_type_are_the_same_on_the_device_and_from_the_host(folder, dtype):
  for k in range(4):
    (folder / "infrared" / f"{k}.png").unlink()
    values = (300 + 100 * k + 1500 * hot(k)).astype(dtype)
    tifffile.imwrite(folder / "infrared" / f"{k}.tif", values)
  found = normalise(dataset(folder).source("train"), "auto", "image")
  layout = resident.lay_out(found.check_headers(), 16)
  assert layout.depths == {"visible": np.uint8, "infrared": np.uint16}
  canvases = resident.read(found, layout)
  samples = pipeline.Samples(found, OPTIONS, 0)
  for position in range(3):
    cut = np.array(samples.cut(position, layout.sizes), np.int32)
    kept = resident.cut(canvases, cut, 16)
    for name, image in samples(position).items():
      assert image.min() >= 0 and image.max() <= 1 and np.ptp(image) > 0.3
      np.testing.assert_array_equal(image, kept[name])


def test_one_range_over_the_training_split_and_the_same_for_what_is_held_out(folder):
  whole = dataset(folder, 0.25)
  train = normalise(whole.source("train"), "auto", "folder")
  held = normalise(whole.source("validation"), "auto", "folder", like=train)
  ranges = {s.normalizer.find("infrared", s.read(0)["infrared"]) for s in (train, held)}
  assert len(ranges) == 1
  values = np.concatenate([train.read(k)["infrared"].ravel() for k in range(3)])
  low, high = np.percentile(values, (1, 99))
  (found,) = ranges
  assert (found.low, found.high) == pytest.approx((low, high), abs=0.01 * (high - low))
  assert f"{found.low:.6g}..{found.high:.6g} stretched to 0..1 (percent" in train.description
  assert "of the folder)" in held.description


def test_a_window_and_a_rule_by_name(folder):
  source = dataset(folder).source("train")
  found = normalise(source, "infrared:window=29000:31000,visible:percentile", "image")
  unit = found[2]["infrared"] / 65535
  expected = (source[2]["infrared"].astype(float) - 29_000) / 2000
  np.testing.assert_allclose(unit, expected, atol=1e-5)
  assert {h.depth for h in found.check_headers()[0].values()} == {np.uint16}
  with pytest.raises(InputError, match="NAME:RULE of visible, infrared"):
    normalise(source, "thermal:full", "image")


def test_full_is_what_older_runs_did(folder):
  source = dataset(folder).source("train")
  found = normalise(source, "full", "image")
  for k in range(4):
    for name, image in found[k].items():
      np.testing.assert_array_equal(image, source[k][name])
  assert [h["infrared"].depth for h in found.check_headers()] == [np.uint16] * 4


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"normalize": "best"}, "input.normalize is 'best'; allowed: auto"),
    ({"normalize_over": "set"}, "input.normalize_over is 'set'; allowed: image, folder"),
  ],
)
def test_options_are_checked_before_any_file(changes, words):
  with pytest.raises(InputError, match=words):
    dataclasses.replace(OPTIONS, **changes)


def test_a_value_outside_of_full_names_the_file(folder):
  (folder / "infrared" / "2.png").unlink()
  tifffile.imwrite(folder / "infrared" / "2.tif", np.full((24, 20), 1.5, np.float32))
  found = normalise(dataset(folder).source("train"), "full", "image")
  with pytest.raises(InputError, match="Folder train: 2 infrared has values from 1.5 to 1.5"):
    found[2]


def test_check_reports_the_ranges_that_training_uses(folder):
  report = check(folder)
  assert report.problems == () and report.notes == ()
  assert report.kinds == {"infrared: grey, 16 bits": 4, "visible: RGB, 8 bits": 4}
  text = inspect.describe(report)
  line = next(line for line in text.splitlines() if "values: " in line)
  assert "visible: 4 of 8 bits, 0..255" in line and text.endswith("nothing wrong")
  ends = [
    np.percentile((29_000 + 100 * k + 1500 * hot(k)).astype(np.uint16), (1, 99)) for k in range(4)
  ]
  assert (
    f"infrared: 4 of 16 bits, {min(e[0] for e in ends):.6g}..{max(e[1] for e in ends):.6g}" in line
  )
  over = check(folder, normalize_over="folder").values
  assert "of the folder)" in over and over != report.values
  assert over == over.replace("image)", "folder)")
  assert (
    "29000..31000 taken as 0..1" in check(folder, normalize="infrared:window=29000:31000").values
  )
  full = check(folder, normalize="full")
  assert "infrared: 4 of 16 bits, 0..65535 taken as 0..1" in full.values


def test_check_reads_floats_and_lists_what_full_refuses(folder):
  (folder / "infrared" / "2.png").unlink()
  spoilt = np.where(hot(2) > 0.9, np.nan, 20 + 15 * hot(2)).astype(np.float32)
  tifffile.imwrite(folder / "infrared" / "2.tif", spoilt)
  report = check(folder)
  assert report.problems == () and "1 of floating-point 32 bits" in report.values
  assert f"{(hot(2) > 0.9).sum()} pixels without a value" in report.values
  assert report.kinds["infrared: grey, floating-point 32 bits"] == 1
  (problem,) = check(folder, normalize="full").problems
  assert "2.tif has values from 20" in problem and "normalize=full takes float32" in problem


def test_check_names_infrared_pictures_in_colours(folder):
  for k in (1, 3):
    coloured = np.random.default_rng(9 + k).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(coloured).save(folder / "infrared" / f"{k}.png")
  report = check(folder)
  (note,) = report.notes
  assert "infrared pictures in colours" in note and note.endswith("(2): 1, 3")
  assert "infrared_palette=NAME" in note and report.problems == ()
  Image.open(folder / "visible" / "3.png").convert("L").save(folder / "visible" / "3.png")
  swapped = check(folder)  # which is said once, and as a problem
  assert swapped.notes[0].endswith("(1): 1") and "look swapped" in swapped.problems[0]


def test_8_bits_and_the_rule_full_keep_all_that_is_stored(folder):
  source = dataset(folder).source("train")
  assert not normalise(source, "auto", "image").keeps_all
  assert not normalise(source, "visible:full,infrared:percentile", "image").keeps_all
  for k in range(4):
    grey = np.full((24, 20), k, np.uint8)
    Image.fromarray(grey).save(folder / "infrared" / f"{k}.png")
  assert normalise(dataset(folder).source("train"), "auto", "image").keeps_all


def test_a_range_over_the_folder_is_that_of_the_images_that_need_one(folder):
  Image.fromarray(np.zeros((24, 20), np.uint8)).save(folder / "infrared" / "0.png")
  found = normalise(dataset(folder).source("train"), "auto", "folder")
  (kept,) = found.normalizer.ranges.values()
  assert 29_000 < kept.low < kept.high < 31_000


def test_no_records_need_no_range():
  empty = FileSource("none", FolderStore(""), ())
  found = normalise(empty, "auto", "folder")
  assert len(found) == 0 and found.stored == () and found.keeps_all
