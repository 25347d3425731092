"""Recordings: folders of numbered frames, TIFFs of several pages, and videos."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import tifffile
import videos
from PIL import Image

from cfi_jax import sequences
from cfi_jax.core.types import InputError
from cfi_jax.data.naming import Naming
from cfi_jax.sequences.opening import VIDEOS, is_recording, open_recording

needs_video = pytest.mark.skipif(
  importlib.util.find_spec("av") is None, reason="the extra video, PyAV, is not installed"
)
COUNTS = [videos.counts(celsius) for celsius in videos.world(12)]


def frames(path, **options):
  return list(open_recording(path, "infrared", **options).frames())


@pytest.mark.parametrize(
  "options",
  [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (32, 32)}],
  ids=str,
)
def test_pages_of_a_tiff(tmp_path, options):
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, np.stack(COUNTS), photometric="minisblack", **options)
  assert is_recording(path)
  np.testing.assert_array_equal(np.stack(frames(path))[..., 0], COUNTS)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int16, np.uint8])
def test_pages_of_any_type(tmp_path, kind):
  path = tmp_path / "a.tif"
  pages = (np.stack(COUNTS) % 200).astype(kind)
  tifffile.imwrite(path, pages, photometric="minisblack")
  np.testing.assert_array_equal(np.stack(frames(path))[..., 0], pages)


def test_a_cut_tiff_is_refused(tmp_path):
  path = tmp_path / "a.tif"
  with tifffile.TiffWriter(path) as file:
    for page in COUNTS:
      file.write(page, photometric="minisblack", contiguous=False)
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(InputError, match="a.tif"):
    frames(path)


def test_numbered_files_come_in_the_order_of_their_numbers(tmp_path):
  for k, image in enumerate(COUNTS):
    Image.fromarray(image).save(tmp_path / f"f{k + 5}_ir.png")
    Image.fromarray(image).save(tmp_path / f"f{k + 5}_vis.png")
  naming = Naming({"infrared": ("", "_ir")})
  found = open_recording(tmp_path, "infrared", naming=naming)
  assert found.names == tuple(f"f{k + 5}" for k in range(12))
  np.testing.assert_array_equal(found.timing.seconds, np.arange(12))
  np.testing.assert_array_equal(np.stack(list(found.frames()))[..., 0], COUNTS)
  (tmp_path / "f7_ir.png").unlink()
  (tmp_path / "f8_ir.png").unlink()
  with pytest.raises(InputError, match="infrared frames are missing: 7 to 8"):
    open_recording(tmp_path, "infrared", naming=naming)


@pytest.mark.parametrize(
  ("names", "words"),
  [
    (["1", "01"], "two frames of one number"),
    (["1", "a"], "a.png: a frame of a sequence without a number"),
    ([], "holds no infrared frame"),
  ],
)
def test_files_that_are_no_sequence_are_refused(tmp_path, names, words):
  for name in names:
    Image.fromarray(COUNTS[0]).save(tmp_path / f"{name}.png")
  with pytest.raises(InputError, match=words):
    open_recording(tmp_path, "infrared")


def test_frames_must_be_alike(tmp_path):
  Image.fromarray(COUNTS[0]).save(tmp_path / "1.png")
  Image.fromarray(COUNTS[0][:, :32]).save(tmp_path / "2.png")
  with pytest.raises(InputError, match=r"2.png is 32x48x1 of uint16 and .*1.png is 64x48x1"):
    frames(tmp_path)


@pytest.mark.parametrize("kind", ["u2", "f8"])
@pytest.mark.parametrize("length", [9, 17, 60, 300])
def test_a_damaged_tiff_is_no_recording(tmp_path, kind, length):
  """Nor an accident: reading it as a picture says what is wrong."""
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, np.zeros((40, 40), kind), bigtiff=True)
  path.write_bytes(path.read_bytes()[:length])
  assert not is_recording(path)
  with pytest.raises(InputError, match="a.tif: no sequence"):
    open_recording(path, "infrared")


def test_what_is_no_recording_is_refused(tmp_path):
  path = tmp_path / "a.tif"
  tifffile.imwrite(path, COUNTS[0])
  assert not is_recording(path) and not is_recording(tmp_path)
  with pytest.raises(InputError, match="a.tif: no sequence; allowed: a folder of numbered"):
    open_recording(path, "infrared")
  with pytest.raises(InputError, match="b: does not exist"):
    open_recording(tmp_path / "b", "infrared")


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "av", None)
  monkeypatch.delitem(sys.modules, "cfi_jax.sequences.video", raising=False)
  monkeypatch.delattr(sequences, "video", raising=False)
  path = tmp_path / "a.mkv"
  path.write_bytes(b"")
  with pytest.raises(InputError, match=r"the extra video: pip install \"cfi_jax\[video\]\""):
    open_recording(path, "infrared")


@needs_video
def test_grey_of_16_bits_is_read_as_it_is(tmp_path):
  path = tmp_path / "a.mkv"
  videos.write(path, COUNTS)
  found = open_recording(path, "infrared")
  assert float(found.timing.rate) == pytest.approx(30, rel=1e-3) and not found.timing.cut
  np.testing.assert_array_equal(np.stack(list(found.frames()))[..., 0], COUNTS)


@pytest.mark.parametrize(("pixels", "bits"), [("gray10le", 10), ("gray12le", 12)])
@needs_video
def test_grey_of_other_depths_keeps_its_values(tmp_path, pixels, bits):
  import av

  path = tmp_path / "a.mkv"
  values = (COUNTS[0] % 2**bits).astype(np.uint16)
  with av.open(str(path), "w") as container:
    stream = container.add_stream("ffv1", rate=30)
    stream.height, stream.width, stream.pix_fmt = *values.shape, pixels
    frame = av.VideoFrame(values.shape[1], values.shape[0], pixels)
    plane = frame.planes[0]
    rows = np.zeros((values.shape[0], plane.line_size // 2), "<u2")
    rows[:, : values.shape[1]] = values
    plane.update(rows.tobytes())
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
  np.testing.assert_array_equal(frames(path)[0][..., 0], values)


@needs_video
def test_grey_in_floating_point_keeps_its_values():
  import av

  from cfi_jax.sequences import video

  values = np.linspace(-5, 400, 48 * 64, dtype=np.float32).reshape(48, 64)
  frame = av.VideoFrame.from_ndarray(values, format="grayf32be")
  np.testing.assert_array_equal(video._to_array(frame)[..., 0], values)


@needs_video
def test_colours_are_read_as_they_are(tmp_path):
  path, pictures = tmp_path / "a.mkv", [videos.photo(c) for c in videos.world(3)]
  videos.write(path, pictures)
  np.testing.assert_array_equal(frames(path), pictures)


@needs_video
def test_a_cut_video_is_noticed(tmp_path):
  """Matroska decodes as far as it goes, without an error; MP4 cannot be opened."""
  for name, codec in (("a.mkv", "ffv1"), ("a.mp4", "libx264")):
    path = tmp_path / name
    pictures = [videos.photo(c) for c in videos.world(16, noise=1)]
    videos.write(path, pictures, codec=codec)
    assert len(frames(path)) == 16
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
  timing = open_recording(tmp_path / "a.mkv", "visible").timing
  assert 4 < len(timing) < 12 and f"is cut: {len(timing)} frames" in timing.cut
  with pytest.raises(InputError, match="a.mp4: cannot be read as a video"):
    open_recording(tmp_path / "a.mp4", "visible")


@needs_video
def test_what_is_no_video_or_too_large_is_refused(tmp_path):
  path = tmp_path / "a.mp4"
  path.write_bytes(b"no video at all")
  with pytest.raises(InputError, match="a.mp4: cannot be read as a video"):
    open_recording(path, "visible")
  videos.write(tmp_path / "b.mkv", COUNTS[:1])
  with pytest.raises(InputError, match="b.mkv: 64x48 pixels exceed the limit of 100"):
    open_recording(tmp_path / "b.mkv", "visible", max_pixels=100)


def test_videos_are_known_by_their_names():
  for name in ("a.MP4", "b.mkv", "c.mov", "d.avi", "e.webm"):
    assert is_recording(pathlib.Path(name))
  assert set(VIDEOS) >= {".mkv", ".mp4"} and not is_recording(pathlib.Path("a.png"))
