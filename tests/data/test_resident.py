"""Pairs kept on the device give the samples of the Grain pipeline, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import pipeline, resident
from cfi_jax.data.source import Headers, Sample
from cfi_jax.images import read as images

OPTIONS = pipeline.Input(
  crop=8, flip=True, transpose=True, workers=0, threads=2, prefetch=2, device_gb=1
)
SIZES = ((6, 14), (13, 7), (9, 8), (31, 5), (8, 8), (1, 3), (17, 23), (8, 40))


@dataclasses.dataclass(frozen=True)
class Noise:
  """Pairs of noise of `SIZES`; the visible image is 16 bits deep in every other pair or always."""

  wide: bool = False
  title = "Noise train"

  def __len__(self):
    return len(SIZES)

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    depth = np.uint16 if self.wide or index % 2 else np.uint8
    visible = rng.integers(0, np.iinfo(depth).max, (*SIZES[index], 1), depth, endpoint=True)
    infrared = rng.integers(0, 255, (*SIZES[index], 1), np.uint8, endpoint=True)
    return Sample(f"pair{index}", visible, infrared)

  def check_headers(self):
    pairs = [(self[index].visible, self[index].infrared) for index in range(len(self))]
    return [Headers(*(images.Header(*x.shape[:2], x.dtype.type) for x in pair)) for pair in pairs]


def on_device(source, cuts):
  layout = resident.lay_out(source.check_headers(), OPTIONS.crop)
  canvases = resident.read(source, layout)
  assert canvases.visible.shape == canvases.infrared.shape == layout.shape
  assert canvases.visible.nbytes + canvases.infrared.nbytes == layout.bytes
  batch = jax.vmap(lambda canvases, row: resident.cut(canvases, row, OPTIONS.crop), (None, 0))
  return [jax.jit(batch)(canvases, rows) for rows in cuts(layout.sizes)]


@pytest.mark.parametrize("wide", [False, True])
def test_samples_are_those_of_the_pipeline(wide):
  source = Noise(wide)
  stretch = pipeline.Stretch(10, 3, 33)
  found = on_device(source, lambda sizes: pipeline.train_cuts(source, sizes, OPTIONS, 5, stretch))
  expected = list(pipeline.train_batches(source, OPTIONS, 5, stretch))
  assert len(found) == len(expected) == 30
  for ours, theirs in zip(found, expected, strict=True):
    for modality in ("visible", "infrared"):
      ours_BHW1, theirs_BHW1 = getattr(ours, modality), getattr(theirs, modality)
      assert ours_BHW1.dtype == theirs_BHW1.dtype == np.float32
      np.testing.assert_array_equal(ours_BHW1, theirs_BHW1)


def test_processes_share_the_rows_of_a_step():
  source, sizes = Noise(), np.array(SIZES)
  whole = list(pipeline.train_cuts(source, sizes, OPTIONS, 5, pipeline.Stretch(4, 1, 6)))
  shares = [
    pipeline.train_cuts(source, sizes, OPTIONS, 5, pipeline.Stretch(4, 1, 6, p, 2))
    for p in range(2)
  ]
  assert len(whole) == 5 and whole[0].shape == (4, 6) and whole[0].dtype == np.int32
  for rows, *parts in zip(whole, *shares, strict=True):
    np.testing.assert_array_equal(np.concatenate(parts), rows)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_every_level_becomes_the_fraction_that_numpy_gives(depth):
  largest = np.iinfo(depth).max
  levels = np.arange(largest + 1).astype(depth)
  expected = levels.astype(np.float32) / np.float32(largest)
  np.testing.assert_array_equal(jax.jit(resident.to_float)(levels), expected)


def test_the_layout_has_room_for_the_largest_image_and_for_the_crop():
  layout = resident.lay_out(Noise().check_headers(), 32)
  assert layout.shape == (8, 32, 40) and layout.bytes == 8 * 32 * 40 * 3
  assert resident.lay_out(Noise().check_headers(), 8).shape == (8, 31, 40)


def test_headers_tell_size_and_depth(tmp_path):
  grey = np.arange(80, dtype=np.uint8).reshape(8, 10)
  pictures = {
    "a.png": Image.fromarray(grey),
    "b.png": Image.fromarray(grey.astype(np.uint16) * 257),
    "c.jpg": Image.fromarray(grey),
    "d.tif": Image.fromarray(grey.astype(np.uint16) * 257),
  }
  for folder in ("visible", "infrared"):
    (tmp_path / folder).mkdir()
    for name, picture in pictures.items():
      picture.save(tmp_path / folder / name)
  options = dict(name="folder", visible="visible", infrared="infrared", validation_fraction=0)
  source = datasets.load(options | {"root": str(tmp_path)}).source("train")
  headers = source.check_headers()
  depths = [pair.visible.depth for pair in headers]
  assert depths == [np.uint8, np.uint16, np.uint8, np.uint16]
  for pair, sample in zip(headers, map(source.__getitem__, range(4)), strict=True):
    assert pair.visible == pair.infrared
    assert (pair.visible.height, pair.visible.width) == sample.visible.shape[:2] == (8, 10)
    assert pair.visible.depth == sample.visible.dtype.type
  Image.fromarray(grey.T).save(tmp_path / "visible" / "a.png")
  Image.fromarray(grey.T).save(tmp_path / "infrared" / "a.png")
  with pytest.raises(InputError, match="a has changed since its header was read"):
    resident.read(source, resident.lay_out(headers, 8))


def test_a_file_that_is_broken_inside_is_named():
  @dataclasses.dataclass(frozen=True)
  class Broken(Noise):
    def __getitem__(self, index):
      if index == 6:
        raise InputError("broken.png: cannot be read")
      return super().__getitem__(index)

  with pytest.raises(InputError, match="broken.png"):
    resident.read(Broken(), resident.lay_out(Noise().check_headers(), 8))
