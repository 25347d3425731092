"""Radiometric JPEG: temperatures, the visible picture inside, and what is damaged or another's."""

import io
import struct

import numpy as np
import pytest
import thermal_files
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images import given as users
from cfi_jax.images import read as images

CELSIUS = thermal_files.scene()
Y, X = np.mgrid[:60, :90]
VISIBLE = np.stack([2 * X, 4 * Y, 255 - 2 * X], -1).astype(np.uint8)


def decode(content, max_pixels=images.MAX_PIXELS):
  return images.decode(io.BytesIO(content), "a.jpg", max_pixels)


@pytest.mark.parametrize(
  "given",
  [
    {},
    {"way": "<"},
    {"way": ">"},
    {"order": "<"},
    {"chunk": 900},
    {"emissivity": 0.95, "reflected": 300.0},
    {"window": 0.8, "emissivity": 0.9},
    {"visible": VISIBLE},
  ],
  ids=str,
)
def test_temperatures_are_kelvin_to_a_fiftieth(given):
  found = decode(thermal_files.flir(CELSIUS, **given))
  assert found.dtype == np.float32 and found.shape == (*CELSIUS.shape, 1)
  assert np.abs(found[..., 0] - 273.15 - CELSIUS).max() < 0.02


def test_temperatures_that_are_not_used_may_be_empty():
  """Those reflected where emissivity is 1, and of a window that lets all through."""
  content = thermal_files.container({1: RAW, 32: thermal_files.camera(at_40=0.0, at_48=0.0)})
  found = decode(thermal_files.jpeg(thermal_files.segments(content)))
  assert np.abs(found[..., 0] - 273.15 - CELSIUS).max() < 0.02


def test_a_header_has_size_and_type_of_the_temperatures():
  file = io.BytesIO(thermal_files.flir(CELSIUS))
  header = images.read_header(file, "a.jpg")
  assert (header.height, header.width, header.depth) == (*CELSIUS.shape, np.float32)


def test_python_takes_paths_and_pillow_images_alike(tmp_path):
  path = tmp_path / "a.jpg"
  path.write_bytes(thermal_files.flir(CELSIUS))
  found = users.to_array(path, "infrared")
  with Image.open(path) as picture:
    np.testing.assert_array_equal(users.to_array(picture, "infrared"), found)
  assert abs(found.mean() - 273.15 - CELSIUS.mean()) < 0.01


@pytest.mark.parametrize(("kind", "apart"), [("JPEG", 12), ("PNG", 3)])
def test_the_visible_picture_inside_is_read(tmp_path, kind, apart):
  path = tmp_path / "a.jpg"
  path.write_bytes(thermal_files.flir(CELSIUS, VISIBLE, kind=kind))
  found = images.read_image(path, embedded=True).astype(int)
  assert found.shape == VISIBLE.shape and np.abs(found - VISIBLE).max() <= apart


def test_a_file_without_a_visible_picture_says_so(tmp_path):
  path = tmp_path / "a.jpg"
  path.write_bytes(thermal_files.flir(CELSIUS))
  with pytest.raises(InputError, match=r"a.jpg: .*FLIR holds no visible picture"):
    images.read_image(path, embedded=True)
  path.write_bytes(thermal_files.jpeg())
  with pytest.raises(InputError, match="a.jpg: no radiometric JPEG of FLIR"):
    images.read_image(path, embedded=True)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_a_cut_file_names_its_segments(share):
  content = thermal_files.flir(CELSIUS, way="<", chunk=1500)
  segment = thermal_files.segments(bytes(1))[0][1]
  whole = content.count(segment[:6])
  with pytest.raises(InputError, match=rf"a.jpg: .*found \d of {whole} segments.*, (cut|missing)"):
    decode(content[: int(share * (1512 * whole - 700))])


def test_a_segment_that_is_missing_is_named():
  parts = thermal_files.segments(
    thermal_files.container(
      {1: thermal_files.thermal_record(thermal_files.counts(CELSIUS)), 32: thermal_files.camera()}
    ),
    900,
  )
  with pytest.raises(InputError, match="missing: 2$"):
    decode(thermal_files.jpeg([parts[0], *parts[2:]]))
  assert decode(thermal_files.jpeg(parts[::-1])).shape == (*CELSIUS.shape, 1)  # in any order


RAW = thermal_files.thermal_record(thermal_files.counts(CELSIUS), "<")
PNG = thermal_files.thermal_record(thermal_files.counts(CELSIUS))


@pytest.mark.parametrize(
  ("records", "words"),
  [
    ({32: thermal_files.camera()}, "lacks the thermal picture .record 1."),
    ({1: RAW}, "lacks the camera's constants .record 32."),
    ({1: RAW, 32: thermal_files.camera()[:200]}, "the camera's constants .record 32. is cut"),
    ({1: RAW, 32: thermal_files.camera()[:783]}, "the camera's constants .record 32. is cut"),
    ({1: RAW[:-10], 32: thermal_files.camera()}, "4790 of 4800 bytes"),
    ({1: PNG[:300], 32: thermal_files.camera()}, "thermal picture is damaged .*found 1 of 1"),
    ({1: RAW[:32] + b"\xff\xd8\xff\xf7", 32: thermal_files.camera()}, "JPEG-LS"),
    (
      {1: PNG[:2] + struct.pack("<HH", 61, 40) + PNG[6:], 32: thermal_files.camera()},
      "thermal picture is I.* of 60x40; allowed: 16 bits of 61x40; found 1 of 1",
    ),
    (
      {1: thermal_files.thermal_record(np.zeros((40, 60), np.uint8)), 32: thermal_files.camera()},
      "thermal picture is L of 60x40; allowed: 16 bits of 60x40",
    ),
    ({1: RAW, 32: thermal_files.camera(emissivity=1.5)}, "emissivity is 1.5; allowed: above 0"),
    ({1: RAW, 32: thermal_files.camera(at_92=0.0)}, "Planck B is 0; allowed: above 0"),
    ({1: RAW, 32: thermal_files.camera(emissivity=0.9, at_40=0.0)}, "reflected temperature is 0"),
  ],
)
def test_what_is_damaged_or_unknown_inside_is_named(records, words):
  content = thermal_files.jpeg(thermal_files.segments(thermal_files.container(records)))
  with pytest.raises(InputError, match=f"^a.jpg: .*{words}"):
    decode(content)


def test_constants_end_with_the_last_that_is_used():
  records = {1: RAW, 32: thermal_files.camera()[:784]}
  content = thermal_files.jpeg(thermal_files.segments(thermal_files.container(records)))
  assert decode(content).shape == (*CELSIUS.shape, 1)


def test_a_directory_that_points_beyond_is_named():
  content = thermal_files.container({1: RAW, 32: thermal_files.camera()})
  with pytest.raises(InputError, match="record 32 ends at byte .* found 1 of 1"):
    decode(thermal_files.jpeg(thermal_files.segments(content[:-1])))
  with pytest.raises(InputError, match="not FFF"):
    decode(thermal_files.jpeg(thermal_files.segments(b"ABC" + content[3:])))


def test_a_directory_that_is_cut_is_named():
  content = thermal_files.container({1: RAW, 32: thermal_files.camera()})
  for more, words in (
    (31, rf"directory of FLIR's records is cut at byte {len(content) + 31}; found 1 of 1"),
    (32, "lacks the thermal picture"),  # one entry, of no type
  ):
    start = struct.pack(">II", len(content), 1)
    moved = content[:24] + start + content[32:] + bytes(more)
    with pytest.raises(InputError, match=words):
      decode(thermal_files.jpeg(thermal_files.segments(moved)))


def test_counts_that_mean_no_temperature_are_nan():
  raw = thermal_files.counts(CELSIUS)
  raw[0, 0], raw[0, 1] = 0, -thermal_files.PLANCK["O"]  # less than no radiation, and none
  records = {1: thermal_files.thermal_record(raw, "<"), 32: thermal_files.camera()}
  found = decode(thermal_files.jpeg(thermal_files.segments(thermal_files.container(records))))
  assert np.argwhere(np.isnan(found[..., 0])).tolist() == [[0, 0], [0, 1]]


def test_too_many_pixels_are_refused():
  with pytest.raises(InputError, match="60x40 pixels exceed the limit of 100"):
    decode(thermal_files.flir(CELSIUS), 100)


XMP = (
  0xE1,
  b"http://ns.adobe.com/xap/1.0/\0<x xmlns:drone-dji='http://www.dji.com/drone-dji/1.0/'>",
)


@pytest.mark.parametrize("more", [(0xE4, b"\xaa\x55\x12\x06 parameters"), (0xE3, bytes(2000))])
def test_a_radiometric_file_of_dji_is_refused_with_the_way_on(more):
  with pytest.raises(InputError, match=r"a.jpg: a radiometric JPEG of DJI: .*floating-point TIFF"):
    decode(thermal_files.jpeg([XMP, more]))


def test_photographs_of_dji_are_read():
  assert decode(thermal_files.jpeg([XMP])).shape == (*thermal_files.SIZE, 3)
