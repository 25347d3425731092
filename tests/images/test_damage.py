"""Damage inside files that decode: what formats and a strict decoder tell."""

import importlib.util
import io
import sys
import types

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images import damage, read

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))


def encode(name, picture=PICTURE, **options):
  file = io.BytesIO()
  picture.save(file, name, **options)
  return file.getvalue()


@pytest.mark.parametrize(
  ("name", "options", "said"),
  [
    ("PNG", {}, ""),
    ("TIFF", {"compression": "tiff_adobe_deflate"}, ""),
    ("TIFF", {"compression": "tiff_lzw"}, "TIFF"),
    ("TIFF", {}, "TIFF"),
    ("JPEG", {}, "JPEG"),
    ("MPO", {"save_all": True, "append_images": [PICTURE]}, "JPEG"),
    ("BMP", {}, "BMP"),
    ("WEBP", {"lossless": True}, "WEBP"),
    ("GIF", {}, "GIF"),
    ("JPEG2000", {}, "JPEG2000"),
  ],
)
def test_formats_without_checksum_are_known(name, options, said):
  assert damage.format_without_checksum(io.BytesIO(encode(name, **options))) == said


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_a_checksum_tells_of_damage(name):
  options = {"compression": "tiff_adobe_deflate"} if name == "TIFF" else {}
  content = bytearray(encode(name, **options))
  for place in range(len(content) // 3, len(content) // 2, 40):
    content[place] ^= 16
  with pytest.raises(InputError):
    read.decode(io.BytesIO(bytes(content)), "x")


@pytest.mark.skipif(not damage.is_strict(), reason=f"needs {damage.STRICT}")
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_strict_decoder_tells_of_what_pillow_passes_over(mode):
  content = encode("JPEG", PICTURE.convert(mode))
  damage.require_strict_jpeg(io.BytesIO(content + bytes(100)), "x")  # bytes behind are no damage
  spoilt = content[:-700] + bytes(600) + content[-100:]
  read.decode(io.BytesIO(spoilt), "x")
  with pytest.raises(InputError, match="x: damaged inside, by a strict decoder"):
    damage.require_strict_jpeg(io.BytesIO(spoilt), "x")


@pytest.mark.parametrize(
  ("colours", "kept"), [("YCbCr", "GRAY"), ("Gray", "GRAY"), ("CMYK", "CMYK"), ("YCCK", "CMYK")]
)
def test_a_strict_decoder_gets_the_whole_file_and_its_word_is_passed_on(monkeypatch, colours, kept):
  asked = []

  def decode_jpeg(content, *, colorspace, strict):
    asked.append((content, colorspace, strict))
    if content == b"spoilt":
      raise ValueError("premature end")

  decoder = types.SimpleNamespace(
    decode_jpeg_header=lambda content: (48, 64, colours, ""), decode_jpeg=decode_jpeg
  )
  monkeypatch.setitem(sys.modules, damage.STRICT, decoder)
  file = io.BytesIO(b"whole")
  file.read()
  damage.require_strict_jpeg(file, "x")
  message = r"^x.jpg: damaged inside, by a strict decoder \(premature end\)$"
  with pytest.raises(InputError, match=message):
    damage.require_strict_jpeg(io.BytesIO(b"spoilt"), "x.jpg")
  assert asked == [(b"whole", kept, True), (b"spoilt", kept, True)]


@pytest.mark.parametrize("found", [None, "a module"])
def test_a_strict_decoder_is_one_that_is_installed(monkeypatch, found):
  monkeypatch.setattr(
    importlib.util, "find_spec", lambda name: found if name == damage.STRICT else None
  )
  assert damage.is_strict() is (found is not None)
