"""Pairs kept on the device give the samples of the Grain pipeline, bit for bit."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data import naming, pipeline, resident
from cfi_jax.images import read as images

OPTIONS = pipeline.Input(
  crop=8, flip=True, transpose=True, workers=0, threads=2, prefetch=2, device_gb=1
)
SIZES = ((6, 14), (13, 7), (9, 8), (31, 5), (8, 8), (1, 3), (17, 23), (8, 40))


@dataclasses.dataclass(frozen=True)
class Noise:
  """Noise of `SIZES`; the visible image is RGB, 16 bits deep in every other sample or always."""

  wide: bool = False
  title = "Noise train"

  def __len__(self):
    return len(SIZES)

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    depth = np.uint16 if self.wide or index % 2 else np.uint8
    return {
      "visible": rng.integers(0, np.iinfo(depth).max, (*SIZES[index], 3), depth, endpoint=True),
      "infrared": rng.integers(0, 255, (*SIZES[index], 1), np.uint8, endpoint=True),
      "mask": rng.integers(0, 255, (*SIZES[index], 1), np.uint8, endpoint=True),
    }

  def check_headers(self):
    return tuple(
      {
        name: images.Header(*image.shape[:2], image.dtype.type, image.shape[2])
        for name, image in self[index].items()
      }
      for index in range(len(self))
    )


def on_device(source, cuts):
  layout = resident.lay_out(source.check_headers(), OPTIONS.crop)
  canvases = resident.read(source, layout)
  assert {name: canvas.shape for name, canvas in canvases.items()} == layout.shapes
  assert {name: canvas.dtype for name, canvas in canvases.items()} == layout.depths
  assert sum(canvas.nbytes for canvas in canvases.values()) == layout.bytes
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
    assert ours.keys() == theirs.keys() == {"visible", "infrared", "mask"}
    for name in theirs:
      assert ours[name].dtype == theirs[name].dtype == np.float32
      assert ours[name].shape == (10, 8, 8, 3 if name == "visible" else 1)
      np.testing.assert_array_equal(ours[name], theirs[name])


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
  assert layout.shapes == {
    "visible": (8, 3, 32, 40), "infrared": (8, 32, 40), "mask": (8, 32, 40),
  }  # fmt: skip
  assert layout.bytes == 8 * 32 * 40 * (3 * 2 + 1 + 1)
  assert resident.lay_out(Noise().check_headers(), 8).shapes["infrared"] == (8, 31, 40)


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
  options = dict(
    name="folder", visible="visible", infrared="infrared", validation_fraction=0, **naming.OPTIONS
  )
  source = datasets.load(options | {"root": str(tmp_path)}).source("train")
  headers = source.check_headers()
  depths = [header["visible"].depth for header in headers]
  assert depths == [np.uint8, np.uint16, np.uint8, np.uint16]
  for header, sample in zip(headers, map(source.__getitem__, range(4)), strict=True):
    assert header["visible"] == header["infrared"]
    height_width = header["visible"].height, header["visible"].width
    assert height_width == sample["visible"].shape[:2] == (8, 10)
    assert header["visible"].depth == sample["visible"].dtype.type
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
