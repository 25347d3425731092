"""Radiometric JPEGs fused: both images of a pair are in one file."""

import numpy as np
import pytest
import thermal_files
import tifffile
import two_cameras
from PIL import Image

from cfi_jax.align import __main__ as align
from cfi_jax.align import command as aligning
from cfi_jax.core import cli
from cfi_jax.fuse import __main__ as command
from cfi_jax.images.read import read_image
from cfi_jax.registration.rig import Confidence, Rig

CELSIUS = thermal_files.scene()
VISIBLE = np.random.default_rng(0).integers(0, 256, (*thermal_files.SIZE, 3), np.uint8)


def run(module, *flags):
  return cli.status(module.main, module.FLAGS, module.__doc__, flags)


def fuse(*flags):
  return run(command, "--weights=average", *flags)


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "flir"
  (root / "day").mkdir(parents=True)
  for name in ("a", "day/b"):
    (root / f"{name}.jpg").write_bytes(thermal_files.flir(CELSIUS, VISIBLE))
  Image.fromarray(VISIBLE).save(root / "photo.jpg")
  return root


def test_a_folder_is_fused_by_itself(folder, tmp_path, capsys):
  assert fuse(f"--flir={folder}", "--window=10C:40C", f"--output={tmp_path / 'out'}") == 0
  said = capsys.readouterr().out
  assert "infrared: 2 of floating-point 32 bits, 283.15..313.15 taken as 0..1" in said
  assert "1 files are left out" in said and "photo.jpg" in said and "another lens" in said
  found = read_image(tmp_path / "out" / "day" / "b.png")
  assert found.shape == VISIBLE.shape
  engine = found[29:33, 41:51].mean() - found[2:9, 2:9].mean()
  assert engine > 90  # white and 15 to 19 degrees, both halved


def test_counts_kelvin_and_celsius_of_a_scene_are_one_picture(tmp_path):
  """FLIR's file, kelvin, Celsius and hundredths of a kelvin, by one window and by percentiles."""
  (tmp_path / "visible").mkdir()
  Image.fromarray(VISIBLE).save(tmp_path / "visible" / "a.png")
  pictures = {}
  for unit, window, name, content in (
    ("flir", "10C:40C", "a.jpg", thermal_files.flir(CELSIUS)),
    ("kelvin", "10C:40C", "a.tif", (CELSIUS + 273.15).astype(np.float32)),
    ("celsius", "283.15K:313.15K", "a.tif", CELSIUS.astype(np.float32)),
    ("counts", "50F:104F:cK", "a.tif", np.rint(100 * (CELSIUS + 273.15)).astype(np.uint16)),
  ):
    (tmp_path / unit).mkdir()
    if isinstance(content, bytes):
      (tmp_path / unit / name).write_bytes(content)
    else:
      tifffile.imwrite(tmp_path / unit / name, content)
    sources = (f"--visible={tmp_path / 'visible'}", f"--infrared={tmp_path / unit}")
    for way, flags in (("window", [f"--window={window}"]), ("percentile", [])):
      output = tmp_path / f"{unit}_{way}"
      assert fuse(*sources, *flags, "--gray", f"--output={output}") == 0
      pictures[unit, way] = read_image(output / "a.png").astype(int)
  for (unit, way), picture in pictures.items():
    assert np.abs(picture - pictures["kelvin", way]).max() <= 1, (unit, way)


def test_damaged_files_and_others_fail_by_name(folder, tmp_path, capsys):
  whole = thermal_files.flir(CELSIUS, VISIBLE)
  (folder / "cut.jpg").write_bytes(whole[: len(whole) // 3])
  (folder / "none.jpg").write_bytes(thermal_files.flir(CELSIUS))
  assert fuse(f"--flir={folder}", f"--output={tmp_path / 'out'}") == 1
  said = capsys.readouterr()
  assert "found 1 of 1 segments of thermal data, cut: 1 (" in said.err
  assert "none.jpg: this radiometric JPEG of FLIR holds no visible picture" in said.err
  assert "fused 2 of 4 pairs" in said.out


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--flir=F", "--visible=F"], "holds both images; leave --visible out"),
    (["--visible=F"], "--infrared is missing; required are --visible and --infrared, or --flir"),
    ([], "--visible is missing"),
    (["--flir=F/day"], "holds no radiometric JPEG of FLIR"),
    (["--flir=F/x"], "x: does not exist"),
    (["--flir=F", "--window=0C:40C", "--normalize=infrared:full"], "leave one out"),
    (["--flir=F", "--format=gif"], "cannot write '.gif' files; allowed: .png"),
  ],
)
def test_flags_that_cannot_be_meant_are_refused(folder, capsys, flags, words):
  (folder / "day" / "b.jpg").unlink()
  flags = [flag.replace("=F", f"={folder}") for flag in flags]
  assert fuse(*flags, f"--output={folder.parent / 'out'}") == 2
  assert words in capsys.readouterr().err


def test_a_mask_is_not_written_over(folder, tmp_path, capsys):
  mask = tmp_path / "mask.png"
  Image.fromarray(np.full(thermal_files.SIZE, 255, np.uint8)).save(mask)
  before = mask.read_bytes()
  flags = (f"--flir={folder / 'a.jpg'}", f"--infrared_valid={mask}", f"--output={mask}")
  assert fuse(*flags) == 2 and mask.read_bytes() == before
  assert "mask.png is the output, too" in capsys.readouterr().err
  flags = (flags[0], f"--infrared_valid={tmp_path / 'none.png'}", f"--output={tmp_path / 'o.png'}")
  assert fuse(*flags) == 2 and "none.png: does not exist" in capsys.readouterr().err


def test_temperatures_are_refused_as_the_visible_image(folder, tmp_path, capsys):
  one = f"--visible={folder / 'a.jpg'}", f"--infrared={folder / 'photo.jpg'}"
  assert fuse(*one, f"--output={tmp_path / 'out.png'}") == 1
  assert "a radiometric JPEG, given as the visible image; --flir" in capsys.readouterr().err
  assert run(align, *one, f"--save={tmp_path / 'rig.json'}") == 2
  assert "a.jpg: a radiometric JPEG, given as the visible image" in capsys.readouterr().err


def test_other_sizes_are_refused_or_aligned(tmp_path, monkeypatch, capsys):
  given = []

  def find(visibles, infrareds, **_):
    given.append((visibles, infrareds))
    sizes = two_cameras.SIZE, two_cameras.INFRARED
    return Rig(two_cameras.TRUTH, *sizes, (), Confidence(1.0, 1.0))

  monkeypatch.setattr(aligning, "find", find)
  root = tmp_path / "flir"
  root.mkdir()
  for k, (visible, infrared) in enumerate(zip(*two_cameras.rig(3), strict=True)):
    celsius = 10 + infrared / 10
    content = thermal_files.flir(celsius, np.stack([visible] * 3, -1), way="<")
    (root / f"{k}.jpg").write_bytes(content)
  assert fuse(f"--flir={root / '0.jpg'}", f"--output={tmp_path / 'out'}.png") == 1
  said = capsys.readouterr()
  assert "0.jpg (the visible picture inside) is 160x120" in said.err and "--align" in said.out
  rig = tmp_path / "rig.json"
  assert run(align, f"--flir={root}", f"--save={rig}") == 0
  (images,) = given  # the photographs, and kelvin
  assert {i.shape for i in images[0]} == {(120, 160, 3)} and images[1][0].mean() > 273
  assert fuse(f"--flir={root}", f"--align={rig}", f"--output={tmp_path / 'out'}") == 0
  assert read_image(tmp_path / "out" / "2.png").shape == (120, 160, 1)


def test_an_image_is_not_written_over_itself(folder, capsys):
  path = folder / "a.jpg"
  before = path.read_bytes()
  assert fuse(f"--flir={path}", "--window=10C:40C", f"--output={path}") == 2
  assert "is the image itself" in capsys.readouterr().err and path.read_bytes() == before
