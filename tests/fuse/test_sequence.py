"""Sequences fused: one meaning of the values, frames in time, files that are whole or not there."""

import importlib.util
import shutil

import numpy as np
import pytest
import thermal_files
import tifffile
import videos
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.fuse import __main__ as command
from cfi_jax.fuse.command import fuse as fuse_all
from cfi_jax.images.read import read_image
from cfi_jax.images.write import write_image
from cfi_jax.registration.rig import Confidence, Rig
from cfi_jax.sequences.opening import open_recording

needs_video = pytest.mark.skipif(
  importlib.util.find_spec("av") is None, reason="the extra video, PyAV, is not installed"
)
COUNT = 24
CELSIUS = list(videos.world(COUNT))
COUNTS = [videos.counts(celsius) for celsius in CELSIUS]
PHOTOS = [videos.photo(celsius) for celsius in CELSIUS]
BACKGROUND = slice(0, 10)  # rows that do not change but for noise


def fuse(*flags):
  weights = () if any(flag.startswith("--weights") for flag in flags) else ("--weights=average",)
  return cli.status(command.main, command.FLAGS, command.__doc__, [*weights, *flags])


@pytest.fixture
def folders(tmp_path):
  for name, images in (("vi", PHOTOS), ("ir", COUNTS)):
    (tmp_path / name).mkdir()
    for k, image in enumerate(images):
      Image.fromarray(image).save(tmp_path / name / f"{k:04d}.png")
  return f"--visible={tmp_path / 'vi'}", f"--infrared={tmp_path / 'ir'}"


def flicker(fused):
  """Mean and largest change of the background from frame to frame, in levels of 255."""
  means = [frame[BACKGROUND].astype(float).mean() for frame in fused]
  return np.abs(np.diff(means)).mean(), np.abs(np.diff(means)).max()


def test_counters_that_begin_elsewhere_are_told(folders, tmp_path, capsys):
  flags = (*folders, "--sequence", f"--output={tmp_path / 'out'}")
  assert fuse(*flags) == 0
  assert "paired in order" not in capsys.readouterr().out
  for k in reversed(range(COUNT)):
    (tmp_path / "ir" / f"{k:04d}.png").rename(tmp_path / "ir" / f"{k + 1:04d}.png")
  assert fuse(*flags) == 0
  assert "paired in order, from 0000 with 0001 on, though" in capsys.readouterr().out


def test_a_sequence_has_one_window_and_does_not_flicker(folders, tmp_path, capsys):
  """A hot engine that enters moves each frame's own percentiles, and with them the background."""
  dark = tmp_path / "dark"  # visible frames that add nothing to what changes
  dark.mkdir()
  for k in range(COUNT):
    Image.fromarray(np.zeros(videos.SIZE, np.uint8)).save(dark / f"{k:04d}.png")
  own, one = tmp_path / "own", tmp_path / "one"
  sources = (f"--visible={dark}", folders[1], "--weights=maximum")
  assert fuse(*sources, f"--output={own}") == 0
  capsys.readouterr()
  assert fuse(*sources, "--sequence", f"--output={one}") == 0
  said = capsys.readouterr().out
  assert "infrared: 24 of 16 bits, " in said and "(percentiles 1 and 99 of the sequence)" in said
  assert "fused 24 frames in " in said and " frames/s) with rule maximum" in said
  steps = [
    flicker([read_image(path / f"{k:04d}.png") for k in range(COUNT)]) for path in (own, one)
  ]
  assert steps[0][1] > 20  # by their own percentiles
  assert steps[1][1] <= 0.3 and steps[1][0] <= 0.1


def test_folders_become_pages_of_a_tiff_and_pages_a_folder(folders, tmp_path):
  first, second = tmp_path / "first.tif", tmp_path / "second"
  assert fuse(*folders, "--sequence", f"--output={first}") == 0
  pages = np.stack(list(open_recording(first, "visible").frames()))
  assert pages.shape == (COUNT, *videos.SIZE, 3) and pages.dtype == np.uint8
  tifffile.imwrite(tmp_path / "ir.tif", np.stack(COUNTS), photometric="minisblack")
  assert fuse(folders[0], f"--infrared={tmp_path / 'ir.tif'}", f"--output={second}") == 0
  found = [read_image(second / f"{k:04d}.png") for k in range(COUNT)]
  np.testing.assert_array_equal(found, pages)


def test_both_sequences_may_be_in_one_folder(folders, tmp_path):
  both = tmp_path / "both"
  both.mkdir()
  for k in range(3):
    shutil.copy(tmp_path / "vi" / f"{k:04d}.png", both / f"{k:04d}_rgb.png")
    shutil.copy(tmp_path / "ir" / f"{k:04d}.png", both / f"{k:04d}_t.png")
  sources = (f"--visible={both}", f"--infrared={both}", "--sequence", "--normalize=full")
  apart = ("--visible_suffix=_rgb", "--infrared_suffix=_t")
  assert fuse(*sources, *apart, f"--output={tmp_path / 'out'}") == 0
  assert fuse(*folders, *sources[2:], f"--output={tmp_path / 'other'}") == 0
  for k in range(3):
    found, wanted = (read_image(tmp_path / o / f"{k:04d}.png") for o in ("out", "other"))
    np.testing.assert_array_equal(found, wanted)


def test_a_window_of_temperatures_is_that_of_all_frames(folders, tmp_path, capsys):
  kelvin = np.stack(CELSIUS).astype(np.float32) + 273.15
  tifffile.imwrite(tmp_path / "ir.tif", kelvin, photometric="minisblack")
  sources = (folders[0], f"--infrared={tmp_path / 'ir.tif'}")
  assert fuse(*sources, "--window=0C:40C", f"--output={tmp_path / 'out.tif'}") == 0
  assert "infrared: 24 of floating-point 32 bits, 273.15..313.15 taken" in capsys.readouterr().out


def test_a_rig_aligns_every_frame(folders, tmp_path, capsys):
  """The infrared camera sees the left half of the picture."""
  height, width = videos.SIZE
  rig = Rig(np.diag([2.0, 1, 1]), videos.SIZE, videos.SIZE, (), Confidence(1.0, 1.0))
  rig.save(tmp_path / "rig.json")
  output = tmp_path / "out"
  flags = ("--sequence", f"--align={tmp_path / 'rig.json'}", f"--output={output}")
  assert fuse(*folders, *flags) == 0
  assert "the infrared camera saw 5" in capsys.readouterr().out
  found = read_image(output / "0003.png")
  np.testing.assert_array_equal(found[:, width // 2 + 1 :], PHOTOS[3][:, width // 2 + 1 :])
  assert (found[:, : width // 2] != PHOTOS[3][:, : width // 2]).any()


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--sequence", "--infrared=S"], "given as the visible and as the infrared sequence"),
    (["--sequence", "--align=auto"], "--align=auto aligns single pairs; a sequence needs one rig"),
    (["--sequence", "--skip_existing"], "--skip_existing=True is for pictures"),
    (["--sequence", "--process_index=0", "--process_count=2"], "one process fuses a sequence"),
    (["--sequence", "--flir=S"], "is for pictures; a sequence is fused without it"),
    (["--sequence", "--rate=0"], "--rate=0; allowed: frames a second, such as 25"),
    (["--sequence", "--output=O.webm"], "a sequence becomes .mkv, .mp4, .tif, .tiff or a folder"),
    (["--sequence", "--output=O.mp4"], "has no times; --rate=FRAMES_PER_SECOND"),
    (["--sequence", "--offset=1"], "--offset=1 needs times"),
    (["--sequence", "--output=S"], "vi is one of the sequences themselves"),
    (["--rate=25"], "--rate=25 is for sequences"),
    (["--frames=shortest"], "--frames=shortest is for sequences"),
  ],
)
def test_flags_that_cannot_be_meant_are_refused(folders, tmp_path, capsys, flags, words):
  flags = [flag.replace("=O", f"={tmp_path / 'out'}") for flag in flags]
  flags = [flag.replace("=S", f"={tmp_path / 'vi'}") for flag in flags]
  output = () if any("--output" in flag for flag in flags) else (f"--output={tmp_path / 'out'}",)
  assert fuse(*folders, *flags, *output) == 2
  assert words in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "vi"]


def test_one_process_fuses_a_sequence(folders, tmp_path):
  flags = (*folders, "--sequence", "--coordinator=auto", f"--output={tmp_path / 'out'}")
  with pytest.raises(InputError, match="--coordinator=auto is for pictures"):
    fuse_all(cli.parse(command.FLAGS, flags))


def test_temperatures_are_refused_as_visible_frames(folders, tmp_path, capsys):
  flir = tmp_path / "flir"
  flir.mkdir()
  (flir / "1.jpg").write_bytes(thermal_files.flir(thermal_files.scene()))
  flags = (f"--visible={flir}", folders[1], "--sequence", f"--output={tmp_path / 'out'}")
  assert fuse(*flags) == 2
  assert "1.jpg: a radiometric JPEG, given as the visible image" in capsys.readouterr().err


def test_a_frame_that_cannot_be_read_leaves_no_file(folders, tmp_path, capsys):
  path = tmp_path / "ir" / "0012.png"
  path.write_bytes(path.read_bytes()[:60])
  flags = ("--sequence", "--window=7000:9000", f"--output={tmp_path / 'out.tif'}")
  assert fuse(*folders, *flags) == 2
  assert "0012.png" in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ["ir", "vi"]


@pytest.fixture
def pair(tmp_path):
  videos.write(tmp_path / "vi.mkv", PHOTOS, sound=True)
  videos.write(tmp_path / "ir.mkv", COUNTS)
  return f"--visible={tmp_path / 'vi.mkv'}", f"--infrared={tmp_path / 'ir.mkv'}"


@needs_video
def test_lossless_out_is_what_folders_give(pair, folders, tmp_path, capsys):
  assert fuse(*pair, f"--output={tmp_path / 'out.mkv'}") == 0
  assert "out.mkv (ffv1, bgr0, lossless)" in capsys.readouterr().out
  assert fuse(*folders, "--sequence", f"--output={tmp_path / 'out'}") == 0
  found = open_recording(tmp_path / "out.mkv", "visible")
  assert len(found.timing) == COUNT and float(found.timing.rate) == pytest.approx(30, rel=2e-3)
  for k, frame in enumerate(found.frames()):
    np.testing.assert_array_equal(frame, read_image(tmp_path / "out" / f"{k:04d}.png"))


@needs_video
def test_grey_of_16_bits_is_lossless_both_ways(pair, tmp_path, capsys):
  """Counts as both images: their mean is themselves."""
  shutil.copy(tmp_path / "ir.mkv", tmp_path / "same.mkv")
  same = f"--visible={tmp_path / 'same.mkv'}", pair[1]
  flags = ("--normalize=full", f"--output={tmp_path / 'out.mkv'}")
  assert fuse(*same, *flags) == 0
  assert "ffv1, gray16le, lossless" in capsys.readouterr().out
  np.testing.assert_array_equal(videos.read(tmp_path / "out.mkv", "gray16le"), COUNTS)


@needs_video
def test_a_video_of_numbered_files_begins_at_once(tmp_path):
  """Whatever number its first frame has."""
  import av

  for k in range(3):
    for name, image in (("vi", PHOTOS[k]), ("ir", PHOTOS[k][..., 0])):
      (tmp_path / name).mkdir(exist_ok=True)
      Image.fromarray(image).save(tmp_path / name / f"{k + 1000}.png")
  sources = f"--visible={tmp_path / 'vi'}", f"--infrared={tmp_path / 'ir'}"
  output = tmp_path / "out.mkv"
  assert fuse(*sources, "--sequence", "--rate=25", f"--output={output}") == 0
  with av.open(str(output)) as container:
    times = [frame.time for frame in container.decode(video=0)]
  np.testing.assert_allclose(times, [0, 0.04, 0.08], atol=1e-3)


@needs_video
def test_colours_of_16_bits_are_lossless(folders, tmp_path):
  for k, photo in enumerate(PHOTOS[:3]):
    (tmp_path / "wide").mkdir(exist_ok=True)
    write_image(tmp_path / "wide" / f"{k}.png", photo.astype(np.uint16) * 257 + 3 * k)
  shutil.copytree(tmp_path / "wide", tmp_path / "same")
  same = f"--visible={tmp_path / 'wide'}", f"--infrared={tmp_path / 'same'}"
  flags = ("--sequence", "--rate=25", "--normalize=full")
  assert fuse(*same, *flags, f"--output={tmp_path / 'out.mkv'}") == 0
  assert fuse(*same, *flags, f"--output={tmp_path / 'out'}") == 0
  for k, frame in enumerate(videos.read(tmp_path / "out.mkv", "rgb48le")):
    np.testing.assert_array_equal(frame, read_image(tmp_path / "out" / f"{k}.png"))


@needs_video
def test_video_for_looking_keeps_times_and_is_near(pair, tmp_path, capsys):
  """Pictures of odd sides, too, which are made even."""
  import av

  odd = [photo[:-1, :-1] for photo in PHOTOS]
  videos.write(tmp_path / "vi.mkv", odd, times=[33 * k for k in range(COUNT)])
  videos.write(tmp_path / "ir.mkv", [c[:-1, :-1] for c in COUNTS], times=range(0, 33 * COUNT, 33))
  assert fuse(*pair, f"--output={tmp_path / 'out.mp4'}") == 0
  assert "libx264, yuv420p, lossy, for looking" in capsys.readouterr().out
  assert fuse(*pair, f"--output={tmp_path / 'out.mkv'}") == 0
  with av.open(str(tmp_path / "out.mp4")) as container:
    frame = next(container.decode(video=0))
    assert (int(frame.colorspace), int(frame.color_range)) == (6, 1)  # BT.601, limited
  looked, exact = (open_recording(tmp_path / f"out.{e}", "visible") for e in ("mp4", "mkv"))
  np.testing.assert_allclose(looked.timing.seconds, exact.timing.seconds, atol=1e-3)
  for frame, other in zip(looked.frames(), exact.frames(), strict=True):
    assert frame.shape == (*videos.SIZE, 3)
    assert np.abs(frame[:-1, :-1].astype(int) - other).mean() < 6


@needs_video
def test_sound_is_copied(pair, tmp_path):
  import av

  assert fuse(*pair, f"--output={tmp_path / 'out.mkv'}") == 0
  sounds = []
  for name in ("vi.mkv", "out.mkv"):
    with av.open(str(tmp_path / name)) as container:
      packets = [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]
      sounds.append(b"".join(packets))
  seconds = len(sounds[1]) / 2 / 8000
  assert sounds[0].startswith(sounds[1]) and COUNT / 30 <= seconds < COUNT / 30 + 0.2


@needs_video
def test_other_rates_and_counts_are_refused_without_the_flag(pair, tmp_path, capsys):
  videos.write(tmp_path / "slow.mkv", COUNTS, rate=25)
  videos.write(tmp_path / "short.mkv", COUNTS[:20])
  output = tmp_path / "out.mkv"
  for name, flag, count in (("slow", "nearest", 24), ("short", "shortest", 20)):
    flags = (pair[0], f"--infrared={tmp_path / name}.mkv", f"--output={output}")
    assert fuse(*flags) == 2
    assert f"--frames={flag}" in capsys.readouterr().err and not output.exists()
    assert fuse(*flags, f"--frames={flag}") == 0
    times = [open_recording(p, "visible").timing.seconds for p in (output, tmp_path / "vi.mkv")]
    assert len(times[0]) == count
    np.testing.assert_allclose(times[0], times[1][:count], atol=1e-3)
    output.unlink()
  assert "4 visible and 0 infrared frames have no partner" in capsys.readouterr().out


@needs_video
def test_a_cut_video_is_refused_by_name(pair, tmp_path, capsys):
  path = tmp_path / "ir.mkv"
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  assert fuse(*pair, f"--output={tmp_path / 'out.mkv'}") == 2
  said = capsys.readouterr().err
  assert "ir.mkv is cut: " in said and "of 0.80 s; --frames=shortest takes it" in said


@needs_video
def test_what_a_video_cannot_hold_leaves_no_file(tmp_path, capsys):
  for k, photo in enumerate(PHOTOS[:2]):
    (tmp_path / "rgba").mkdir(exist_ok=True)
    alpha = np.full((*videos.SIZE, 1), 200, np.uint8)
    Image.fromarray(np.concatenate([photo, alpha], -1)).save(tmp_path / "rgba" / f"{k}.png")
  shutil.copytree(tmp_path / "rgba", tmp_path / "same")
  same = f"--visible={tmp_path / 'rgba'}", f"--infrared={tmp_path / 'same'}"
  flags = ("--sequence", "--rate=25", f"--output={tmp_path / 'out.mkv'}")
  assert fuse(*same, *flags) == 2
  assert "a video holds no alpha" in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ["rgba", "same"]
