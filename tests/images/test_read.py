import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.images import read as images
from cfi_jax.images.tiff import count_pages

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 9), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 9, 4), np.uint8)


def saved(tmp_path, picture, name="x.png", **options):
  path = tmp_path / name
  picture.save(path, **options)
  return path


def wide_png(array):
  """A PNG of uint16 [H, W, C], written by hand: pillow cannot write 16-bit colour."""
  height, width, channels = array.shape
  colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
  rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

  def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

  header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
  body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif"])
def test_grey_is_one_channel(tmp_path, name):
  image = images.read_image(saved(tmp_path, Image.fromarray(GREY), name))
  assert image.dtype == np.uint8
  np.testing.assert_array_equal(image, GREY[..., None])


def test_rgb_and_rgba_keep_their_channels(tmp_path):
  for channels in (3, 4):
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(COLOUR[..., :channels])))
    np.testing.assert_array_equal(images.read_image(path), COLOUR[..., :channels])


def test_grey_keeps_alpha_only_where_something_is_transparent(tmp_path):
  alpha = np.maximum(COLOUR[..., 3], 1)
  picture = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
  np.testing.assert_array_equal(images.read_image(saved(tmp_path, picture)), GREY[..., None])
  alpha[2:, 3] = 0
  picture = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
  expected = np.stack([GREY, GREY, GREY, alpha], -1)
  np.testing.assert_array_equal(images.read_image(saved(tmp_path, picture)), expected)


def test_16_bits_of_grey_with_alpha_are_kept_alike(tmp_path):
  both = RNG.integers(1, 65536, (5, 7, 2), np.uint16)
  both[1, 2, 1] = 256  # whose low byte is 0
  (tmp_path / "x.png").write_bytes(wide_png(both))
  np.testing.assert_array_equal(images.read_image(tmp_path / "x.png"), both[..., :1])
  both[3, 4, 1] = 0
  (tmp_path / "x.png").write_bytes(wide_png(both))
  np.testing.assert_array_equal(images.read_image(tmp_path / "x.png"), both[..., [0, 0, 0, 1]])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_png_is_alpha(tmp_path, channels):
  array = COLOUR[..., :channels] if channels == 3 else GREY[..., None]
  key = array[1, 2]
  transparency = tuple(map(int, key)) if channels == 3 else int(key[0])
  found = images.read_image(
    saved(tmp_path, Image.fromarray(array.squeeze()), transparency=transparency)
  )
  np.testing.assert_array_equal(found[..., :3], np.broadcast_to(array, (*array.shape[:2], 3)))
  np.testing.assert_array_equal(found[..., 3] == 0, (array == key).all(-1))


def test_palette_is_looked_up(tmp_path):
  table = RNG.integers(0, 256, (4, 3), np.uint8)
  index = RNG.integers(0, 4, (6, 9), np.uint8)
  picture = Image.frombytes("P", (9, 6), index.tobytes())
  picture.putpalette(table.tobytes())
  np.testing.assert_array_equal(images.read_image(saved(tmp_path, picture)), table[index])
  path = saved(tmp_path, picture, transparency=2)
  image = images.read_image(path)
  np.testing.assert_array_equal(image[..., :3], table[index])
  np.testing.assert_array_equal(image[..., 3], np.where(index == 2, 0, 255))


def test_one_bit_becomes_black_and_white(tmp_path):
  bits = GREY > 127
  image = images.read_image(saved(tmp_path, Image.fromarray(bits)))
  np.testing.assert_array_equal(image, np.where(bits, 255, 0)[..., None])
  assert image.dtype == np.uint8


def test_cmyk_becomes_rgb(tmp_path):
  picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
  image = images.read_image(saved(tmp_path, picture, "x.jpg", quality=100))
  assert image.shape == (8, 8, 3)
  assert np.all(np.abs(image.astype(int) - (255, 0, 0)) <= 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_all_bits(tmp_path, channels):
  array = RNG.integers(0, 65536, (5, 7, channels), np.uint16)
  (tmp_path / "x.png").write_bytes(wide_png(array))
  image = images.read_image(tmp_path / "x.png")
  assert image.dtype == np.uint16
  np.testing.assert_array_equal(image, array[..., :1] if channels == 2 else array)


def test_16_bit_tiff_of_either_byte_order(tmp_path):
  array = RNG.integers(0, 65536, (5, 7), np.uint16)
  for order in ("<u2", ">u2"):
    image = images.read_image(saved(tmp_path, Image.fromarray(array.astype(order)), "x.tif"))
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[..., 0], array)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_exif_orientation_is_applied(tmp_path, name):
  turned = {1: GREY, 2: GREY[:, ::-1], 3: GREY[::-1, ::-1], 4: GREY[::-1], 5: GREY.T}
  turned |= {6: np.rot90(GREY, -1), 7: GREY[::-1, ::-1].T, 8: np.rot90(GREY)}
  for orientation, expected in turned.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(GREY), name, exif=exif)
    np.testing.assert_array_equal(images.read_image(path)[..., 0], expected)
    with open(path, "rb") as file:
      assert images.inspect(file, "x") == expected.shape


def test_16_bit_colour_with_exif_orientation(tmp_path):
  array = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
  data = wide_png(array)
  exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
  chunk = (
    struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
  )
  (tmp_path / "x.png").write_bytes(data[:33] + chunk + data[33:])
  np.testing.assert_array_equal(images.read_image(tmp_path / "x.png"), np.rot90(array, -1))


def test_luma_of_the_primaries_is_opencvs():
  primaries = np.eye(3, dtype=np.uint8)[None] * 255
  assert images.luma(primaries)[0, :, 0].tolist() == [76, 150, 29]
  wide = np.eye(3, dtype=np.uint16)[None] * 65535
  assert images.luma(wide)[0, :, 0].tolist() == [19596, 38467, 7472]


def test_luma_rounds_halves_up():
  half = np.array([[[0, 56, 102]]], np.uint8)
  assert (4899 * 0 + 9617 * 56 + 1868 * 102) / 2**14 == 45 - 0.5
  assert images.luma(half).item() == 45


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_is_rounded_bt601_and_exact_for_grey(dtype):
  top = np.iinfo(dtype).max
  image = RNG.integers(0, top + 1, (40, 40, 4), dtype)
  exact = image[..., :3] @ np.array([0.299, 0.587, 0.114])
  luma = images.luma(image)
  assert luma.dtype == dtype and luma.shape == (40, 40, 1)
  assert np.abs(luma[..., 0] - exact).max() <= 0.5 + 1e-4 * top
  ramp = np.linspace(0, top, 300).astype(dtype)[:, None, None]
  np.testing.assert_array_equal(images.luma(np.repeat(ramp, 3, -1)), ramp)
  assert images.luma(ramp) is ramp


def damaged(kind):
  stream = io.BytesIO()
  noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))
  noise.save(stream, "JPEG" if kind == "jpeg" else "PNG")
  whole = stream.getvalue()
  if kind in ("png", "jpeg"):
    return whole[: len(whole) // 2]
  if kind == "zeros":  # what an interrupted download leaves: the right size, the end not written
    return whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
  return {"empty": b"", "text": b"not an image at all", "cut header": whole[:20]}[kind]


@pytest.mark.parametrize("kind", ["png", "jpeg", "zeros", "empty", "text", "cut header"])
def test_damaged_files_are_named(tmp_path, kind):
  path = tmp_path / "broken.png"
  path.write_bytes(damaged(kind))
  with pytest.raises(InputError, match="broken.png"):
    images.read_image(path)
  with pytest.raises(InputError, match="label of it"), open(path, "rb") as file:
    images.inspect(file, "label of it")


def test_bytes_after_the_end_of_a_jpeg_are_no_damage(tmp_path):
  path = saved(tmp_path, Image.fromarray(GREY), "x.jpg")
  path.write_bytes(path.read_bytes() + b"maker's notes")
  with open(path, "rb") as file:
    assert images.inspect(file, "x") == (6, 9)


def test_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match="absent.png: No such file"):
    images.read_image(tmp_path / "absent.png")


def test_unsupported_pixels_are_refused(tmp_path):
  with pytest.raises(InputError, match="pixel type .LAB. of this TIFF is not supported"):
    images.read_image(saved(tmp_path, Image.new("LAB", (4, 4)), "x.tif"))


def test_several_frames_are_refused(tmp_path):
  frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
  path = saved(tmp_path, frames[0], "x.tif", save_all=True, append_images=frames[1:])
  with pytest.raises(InputError, match="2 frames"):
    images.read_image(path)


def test_a_phones_jpeg_with_a_second_view_is_its_first_picture(tmp_path):
  pictures = [Image.fromarray(x) for x in (COLOUR[..., :3].copy(), 255 - COLOUR[..., :3])]
  whole = tmp_path / "x.jpg"
  pictures[0].save(whole, "MPO", save_all=True, append_images=pictures[1:], quality=95)
  with Image.open(whole) as picture:
    assert picture.format == "MPO" and picture.n_frames == 2
  alone = images.read_image(saved(tmp_path, pictures[0], "alone.jpg", quality=95))
  np.testing.assert_array_equal(images.read_image(whole), alone)
  with open(whole, "rb") as file:
    assert images.inspect(file, "x") == (6, 9)


def test_as_many_pixels_as_allowed_are_read(tmp_path):
  path = saved(tmp_path, Image.fromarray(GREY))
  assert images.read_image(path, max_pixels=54).shape == (6, 9, 1)
  with pytest.raises(InputError, match="9x6 pixels exceed the limit of 53"):
    images.read_image(path, max_pixels=53)
  with open(path, "rb") as file:
    assert images.inspect(file, "x", 54) == (6, 9)
  with open(path, "rb") as file, pytest.raises(InputError, match="x: 9x6 pixels exceed"):
    images.inspect(file, "x", 53)


def test_decompression_bomb_is_refused_from_its_header(tmp_path):
  data = wide_png(np.zeros((1, 1, 1), np.uint16))
  header = b"IHDR" + struct.pack(">II", 2**13, 2**13 + 1) + data[24:29]
  bomb = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
  (tmp_path / "x.png").write_bytes(bomb)
  with pytest.raises(InputError, match="exceed the limit"):
    images.read_image(tmp_path / "x.png")


def test_16_bit_colour_tiff_is_refused_rather_than_cut_to_8_bits(tmp_path):
  pixels = RNG.integers(0, 65536, (2, 2, 3)).astype("<u2").tobytes()
  bits = struct.pack("<3H", 16, 16, 16)
  start = 8 + 2 + 9 * 12 + 4  # header, count, entries, end of the list
  values = {256: 2, 257: 2, 258: start, 259: 1, 262: 2, 273: start + 6, 277: 3, 278: 2, 279: 24}
  entries = b"".join(
    struct.pack("<HHII", tag, 3 if tag != 273 else 4, 3 if tag == 258 else 1, value)
    for tag, value in values.items()
  )
  data = b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(4) + bits + pixels
  (tmp_path / "x.tif").write_bytes(data)
  with pytest.raises(InputError, match="16 bits per sample"):
    images.read_image(tmp_path / "x.tif")


BASE = np.array([[0, 1, 2, 300], [5, 6, 7, 70]])
TIFF = {
  "uint16": (BASE.astype(np.uint16), {}, np.uint16),
  "big-endian": (BASE.astype(np.uint16), {"byteorder": ">"}, np.uint16),
  "BigTIFF": (BASE.astype(np.uint16), {"bigtiff": True}, np.uint16),
  "predictor": (BASE.astype(np.uint16), {"compression": "zlib", "predictor": True}, np.uint16),
  "int8": ((BASE % 100 - 3).astype(np.int8), {}, np.int8),
  "int16": ((BASE - 3).astype(np.int16), {}, np.int16),
  "big-endian int16": ((BASE - 3).astype(np.int16), {"byteorder": ">"}, np.int16),
  "int32": ((BASE - 3).astype(np.int32), {}, np.int32),
  "uint32": ((BASE + 3_000_000_000).astype(np.uint32), {}, np.uint32),
  "big-endian uint32": (BASE.astype(np.uint32), {"byteorder": ">"}, np.uint32),
  "float32": ((BASE - 3.5).astype(np.float32), {}, np.float32),
  "big-endian float32": ((BASE - 3.5).astype(np.float32), {"byteorder": ">"}, np.float32),
  "float16": ((BASE - 3.5).astype(np.float16), {}, np.float32),
  "deflated float16": ((BASE - 3.5).astype(np.float16), {"compression": "zlib"}, np.float32),
  "big-endian float64": (BASE - 3.5, {"byteorder": ">"}, np.float64),
  "big-endian BigTIFF": (BASE.astype(np.uint16), {"byteorder": ">", "bigtiff": True}, np.uint16),
}
ORDERED = {"byteorder": ">", "compression": "zlib"}  # which pillow takes in the wrong order
TIFF |= {
  f"big-endian deflated {np.dtype(kind).name}{' in tiles' if tile else ''}": (
    (BASE + 3).astype(kind),
    ORDERED | ({"tile": (16, 16)} if tile else {}),
    kind,
  )
  for kind in (np.uint16, np.int16, np.uint32, np.int32, np.float32)
  for tile in (False, True)
}


def tiff(tmp_path, array, **options):
  tifffile.imwrite(tmp_path / "x.tif", array, **options)
  return tmp_path / "x.tif"


@pytest.mark.parametrize("kind", TIFF)
def test_grey_tiff_keeps_its_values_and_their_type(tmp_path, kind):
  array, options, dtype = TIFF[kind]
  path = tiff(tmp_path, array, **options)
  found = images.read_image(path)
  assert found.dtype == dtype and found.dtype.isnative
  np.testing.assert_array_equal(found, array[..., None].astype(dtype))
  with open(path, "rb") as file:
    assert images.read_header(file, "x") == images.Header(2, 4, dtype)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_the_header_of_a_whole_picture_is_read_without_decoding_it(tmp_path, monkeypatch, form):
  path = tmp_path / f"x.{form.lower()}"
  Image.new("RGB", (5, 4)).save(path, form)
  monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("decoded"))
  with open(path, "rb") as file:
    assert images.read_header(file, "x") == images.Header(4, 5, np.uint8)


def test_pages_and_pillow_images_of_big_endian_values_are_in_order(tmp_path):
  both = np.stack([BASE - 3, BASE + 9])
  path = tiff(tmp_path, both.astype(np.int32), photometric="minisblack", **ORDERED)
  with path.open("rb") as file:
    found = list(images.decode_pages(file, "x"))
  np.testing.assert_array_equal(found, both[..., None])
  path = tiff(tmp_path, (BASE - 3).astype(np.float32), **ORDERED)
  with Image.open(path) as picture:
    np.testing.assert_array_equal(images.from_pillow(picture, "x")[..., 0], BASE - 3)


def test_complex_numbers_are_refused(tmp_path):
  with pytest.raises(InputError, match=r"x.tif: .* type complex64 is not supported; allowed are"):
    images.read_image(tiff(tmp_path, BASE.astype(np.complex64)))


def test_colours_of_big_endian_bigtiff_are_refused_by_what_they_are(tmp_path):
  path = tiff(tmp_path, np.zeros((4, 6, 3), np.uint8), byteorder=">", bigtiff=True)
  with pytest.raises(InputError, match="of big-endian BigTIFF grey alone"):
    images.read_image(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_white_is_zero_is_inverted_in_any_depth(tmp_path, dtype):
  array = (BASE % 256).astype(dtype)
  found = images.read_image(tiff(tmp_path, array, photometric="miniswhite"))
  np.testing.assert_array_equal(found[..., 0], np.iinfo(dtype).max - array)


def test_white_is_zero_has_no_meaning_without_a_largest_value(tmp_path):
  path = tiff(tmp_path, BASE.astype(np.float32), photometric="miniswhite")
  with pytest.raises(InputError, match="x.tif: white is zero in float32"):
    images.read_image(path)


MISSING = {
  "NaN": (np.where(BASE > 5, np.nan, BASE), None),
  "infinite": (np.where(BASE > 5, np.inf, BASE), None),
  "-9999": (np.where(BASE > 5, -9999, BASE).astype(np.int16), None),
  "zero kelvin in Celsius": (np.where(BASE > 5, -273.15, BASE).astype(np.float32), None),
  "the same in float16": (np.where(BASE > 5, -273.15, BASE).astype(np.float16), None),
  "nodata of floats": (np.where(BASE > 5, 7.5, BASE).astype(np.float32), "7.5"),
  "nodata of 16 bits": (np.where(BASE > 5, 65535, BASE).astype(np.uint16), "65535"),
  "-9999 in float16": (np.where(BASE > 5, -9999, BASE).astype(np.float16), None),
  "the end of float32": (np.where(BASE > 5, -3.4028235e38, BASE).astype(np.float32), None),
  "a tag that is nearly that": (np.where(BASE > 5, -3.4028235e38, BASE), "-3.40282e+38"),
  "a tag that float16 rounds": (np.where(BASE > 5, 9999, BASE).astype(np.float16), "9999"),
  "nodata of float16": (np.where(BASE > 5, 7.5, BASE).astype(np.float16), "7.5"),
}


@pytest.mark.parametrize("kind", MISSING)
def test_pixels_without_a_value_are_nan(tmp_path, kind):
  array, nodata = MISSING[kind]
  tags = [(42113, "s", 0, nodata, False)] if nodata else []
  found = images.read_image(tiff(tmp_path, array, extratags=tags))
  assert found.dtype.kind == "f"
  np.testing.assert_array_equal(found[..., 0], np.where(BASE > 5, np.nan, BASE))


@pytest.mark.parametrize(
  ("dtype", "nodata", "expected"),
  [
    (np.uint8, "0", np.uint8),
    (np.uint16, "9", np.float32),  # as its neighbours that do lack values: one range, one scale
    (np.int16, "9", np.float32),
    (np.uint32, "9", np.float64),
    (np.uint16, "none", np.uint16),
    (np.uint16, None, np.uint16),
  ],
)
def test_a_nodata_tag_decides_on_the_type_whether_values_are_missing_or_not(
  tmp_path, dtype, nodata, expected
):
  array = BASE.astype(dtype)
  tags = [(42113, "s", 0, nodata, False)] if nodata else []
  found = images.read_image(tiff(tmp_path, array, extratags=tags))
  assert found.dtype == expected
  np.testing.assert_array_equal(found[..., 0], array)


@pytest.mark.parametrize("channels", [1, 3])
def test_nodata_of_8_bits_is_transparent(tmp_path, channels):
  array = RNG.integers(0, 2, (6, 9, channels), np.uint8) * 200
  lacks = (array == 200).all(-1)
  path = tiff(tmp_path, array.squeeze(), extratags=[(42113, "s", 0, "200", False)])
  found = images.read_image(path)
  assert found.dtype == np.uint8 and lacks.any()
  np.testing.assert_array_equal(found[..., :3], np.broadcast_to(array, (6, 9, 3)))
  np.testing.assert_array_equal(found[..., 3], np.where(lacks, 0, 255))


def test_nodata_is_what_the_file_holds_where_white_is_zero(tmp_path):
  tags = [(42113, "s", 0, "5", False)]
  array = (BASE % 256).astype(np.uint8)
  array[0, 0] = 5
  found = images.read_image(tiff(tmp_path, array, photometric="miniswhite", extratags=tags))
  np.testing.assert_array_equal(found[..., 0], 255 - array)
  np.testing.assert_array_equal(found[..., 3] == 0, array == 5)


def test_rare_tiff_is_limited_as_all_others(tmp_path):
  half = BASE.astype(np.float16)
  with pytest.raises(InputError, match="x.tif: 4x2 pixels exceed the limit of 7"):
    images.read_image(tiff(tmp_path, half), max_pixels=7)
  with pytest.raises(InputError, match="x.tif: has 2 frames"):
    images.read_image(tiff(tmp_path, np.stack([half, half]), photometric="minisblack"))
  with pytest.raises(InputError, match=r"x.tif: a TIFF of shape \(2, 4, 3\) and type float32"):
    colour = np.repeat(half[..., None], 3, -1).astype(np.float32)
    images.read_image(tiff(tmp_path, colour, photometric="rgb"))
  with pytest.raises(InputError, match="x.tif: a TIFF of float16 that is to be turned"):
    images.read_image(tiff(tmp_path, half, extratags=[(274, "H", 1, 6, False)]))


def test_a_compression_without_a_decoder_is_named_with_the_way_on(tmp_path):
  path = tiff(tmp_path, BASE.astype(np.float64), compression="zlib")
  content = path.read_bytes()
  tag = struct.pack("<HHIH", 259, 3, 1, 8)
  assert content.count(tag) == 1
  path.write_bytes(content.replace(tag, struct.pack("<HHIH", 259, 3, 1, 32809)))
  words = "x.tif: a TIFF of float64 compressed by THUNDERSCAN, which .* or save it uncompressed"
  with pytest.raises(InputError, match=words):
    images.read_image(path)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # of Pillow, on damaged tags
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_rare_tiff_that_lacks_a_part_is_damaged(tmp_path, dtype):
  path = tiff(tmp_path, RNG.random((64, 64)).astype(dtype), rowsperstrip=16)
  whole = path.read_bytes()
  for length in (60, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:length])
    with pytest.raises(InputError, match="x.tif"):
      images.read_image(path)
  path.write_bytes(whole)
  with tifffile.TiffFile(path, mode="r+b") as opened:
    opened.pages[0].tags[257].overwrite(80)  # more rows than there are strips for
  with pytest.raises(InputError, match="x.tif: image file is truncated"):
    images.read_image(path)


def test_pillow_images_are_read_as_their_files(tmp_path):
  wide = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
  (tmp_path / "wide.png").write_bytes(wide_png(wide))
  exif = Image.Exif()
  exif[0x0112] = 6
  palette = Image.fromarray(COLOUR[..., :3]).quantize(4)
  paths = [
    tmp_path / "wide.png",
    saved(tmp_path, Image.fromarray(GREY), "turned.png", exif=exif),
    saved(tmp_path, palette, "palette.png", transparency=1),
    saved(tmp_path, Image.fromarray(COLOUR[..., :3]).convert("CMYK"), "cmyk.tif"),
    tiff(tmp_path, BASE.astype(np.uint16), photometric="miniswhite"),
  ]
  for path in paths:
    with Image.open(path) as picture:
      found = images.from_pillow(picture, "picture")
    np.testing.assert_array_equal(found, images.read_image(path), err_msg=str(path))
  for dtype in (np.float32, np.int32):
    array = (BASE - 3).astype(dtype)
    found = images.from_pillow(Image.fromarray(array), "picture")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., 0], array)
  with pytest.raises(InputError, match="picture: pixel type 'HSV'"):
    images.from_pillow(Image.new("HSV", (8, 8)), "picture")


def test_luma_of_other_types():
  colour = RNG.integers(-1000, 100_000, (5, 6, 3)).astype(np.int32)
  exact = colour @ np.array([0.299, 0.587, 0.114])
  found = images.luma(colour)
  assert found.dtype == np.int32 and np.abs(found[..., 0] - exact).max() <= 0.5 + 1e-6
  np.testing.assert_allclose(images.luma(colour / 7)[..., 0], exact / 7, rtol=1e-12)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_jpeg_2000_is_read(tmp_path, mode):
  pixels = {"L": GREY, "RGB": COLOUR[..., :3], "RGBA": COLOUR, "I;16": GREY.astype(np.uint16) * 99}
  array = np.ascontiguousarray(pixels[mode])
  path = saved(tmp_path, Image.fromarray(array), "x.jp2")
  np.testing.assert_array_equal(images.read_image(path), array.reshape(6, 9, -1))


def test_jpeg_2000_in_colour_keeps_no_more_than_eight_bits_so_more_are_refused():
  file = io.BytesIO()
  Image.fromarray(COLOUR[..., :3]).save(file, "JPEG2000")
  content = bytearray(file.getvalue())
  sizes = content.find(b"\xff\x4f\xff\x51") + 42
  content[sizes + 3] = 11  # of green: the depth less one
  with pytest.raises(InputError, match="x: colour JPEG 2000 with 12 bits per sample; save it as"):
    images.decode(io.BytesIO(bytes(content)), "x")


def test_gif_of_one_frame_is_read_and_an_animation_refused(tmp_path):
  picture = Image.fromarray(COLOUR[..., :3]).quantize(32)
  path = saved(tmp_path, picture, "x.gif")
  np.testing.assert_array_equal(images.read_image(path), np.asarray(picture.convert("RGB")))
  grey = images.read_image(saved(tmp_path, Image.fromarray(GREY), "g.gif"))
  np.testing.assert_array_equal(images.luma(grey), GREY[..., None])
  path = saved(tmp_path, picture, "a.gif", save_all=True, append_images=[picture.rotate(180)])
  with pytest.raises(InputError, match="a.gif: has 2 frames, expected a single picture"):
    images.read_image(path)


def test_classes_of_a_palette_are_its_indices_and_others_their_values(tmp_path):
  indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 5
  labels = Image.fromarray(indices, "P")
  labels.putpalette([value for k in range(5) for value in (9 * k, 0, 200)])
  labels.save(tmp_path / "p.png")
  np.testing.assert_array_equal(images.read_classes(tmp_path / "p.png")[..., 0], indices)
  assert images.read_image(tmp_path / "p.png").shape == (3, 4, 3)  # its colours
  exif = Image.Exif()
  exif[0x0112] = 6
  labels.save(tmp_path / "turned.png", exif=exif)
  turned = images.read_classes(tmp_path / "turned.png")[..., 0]
  np.testing.assert_array_equal(turned, np.rot90(indices, -1))
  Image.fromarray(indices).save(tmp_path / "g.png")
  np.testing.assert_array_equal(images.read_classes(tmp_path / "g.png")[..., 0], indices)
  for read in (images.read_classes, images.read_image):
    with pytest.raises(InputError, match="absent.png: No such file or directory"):
      read(tmp_path / "absent.png")


def test_a_jpeg_2000_without_its_stream_is_named():
  siz = b"\xff\x4f\xff\x51" + bytes(36) + (3).to_bytes(2, "big")
  assert (
    images._jpeg_2000_bits(io.BytesIO(b"boxes" + siz + bytes([7, 1, 1, 11, 1, 1, 0x87, 1, 1])))
    == 12
  )
  assert images._jpeg_2000_bits(io.BytesIO(siz + bytes([7, 1, 1, 8, 1, 1, 6, 1, 1]))) == 9
  late = bytes(2**16 - len(siz)) + siz + bytes([11, 1, 1] * 3)
  assert images._jpeg_2000_bits(io.BytesIO(late)) == 12
  for content in (b"boxes", siz):
    with pytest.raises(InputError, match="a JPEG 2000 file without a code stream"):
      images._jpeg_2000_bits(io.BytesIO(content))


def test_pages_of_a_tiff_are_read_one_by_one(tmp_path):
  pages = [Image.fromarray(GREY + k) for k in range(3)]
  path = tmp_path / "x.tif"
  pages[0].save(path, save_all=True, append_images=pages[1:])
  with path.open("rb") as file:
    found = list(images.decode_pages(file, "x"))
  assert [page.shape for page in found] == [(6, 9, 1)] * 3
  for page, given in zip(found, pages, strict=True):
    np.testing.assert_array_equal(page[..., 0], np.asarray(given))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
@pytest.mark.parametrize("count", [1, 3])
def test_the_pages_of_a_tiff_are_counted(dtype, count):
  file = io.BytesIO()
  tifffile.imwrite(file, np.zeros((count, 9, 13), dtype), photometric="minisblack")
  assert count_pages(file) == count
  assert count_pages(io.BytesIO(b"no TIFF")) == 1


class FullDisk(io.BytesIO):
  """A file whose bytes cannot be kept."""

  def read(self, *_):
    raise StorageError("full")


@pytest.mark.parametrize("read", [images.read_header, images.decode])
def test_a_full_disk_of_what_is_fetched_is_no_damaged_picture(read):
  with pytest.raises(StorageError, match="^full$"):
    read(FullDisk(), "x.png")
