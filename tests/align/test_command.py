"""The command of aligning, and fusing with what it wrote."""

import json

import numpy as np
import pytest
import tifffile
import two_cameras
from PIL import Image

from cfi_jax.align import __main__ as command
from cfi_jax.align import command as implementation
from cfi_jax.core import cli
from cfi_jax.fuse import __main__ as fuse
from cfi_jax.images.read import read_image
from cfi_jax.registration.rig import Confidence, Rig, load


def run(module, *arguments):
  return cli.status(module.main, module.FLAGS, module.__doc__, arguments)


@pytest.fixture(scope="module", autouse=True)
def few():
  with pytest.MonkeyPatch.context() as patch:
    two_cameras.hasten(patch)
    yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Four pairs of a rig, the infrared ones 16-bit counts, and their rig."""
  root = tmp_path_factory.mktemp("rig")
  for name, images in zip(("vi", "ir"), two_cameras.rig(4), strict=True):
    (root / name).mkdir()
    for k, image in enumerate(images):
      colours = np.stack([image, image // 2, 255 - image], -1)
      counts = (29_000 + 6 * image.astype(int)).astype(np.uint16)
      Image.fromarray(colours if name == "vi" else counts).save(root / name / f"{k}.png")
  flags = (f"--save={root / 'rig.json'}", f"--picture={root / 'check.png'}", "--pairs=3")
  assert run(command, *pair(root), *flags) == 0
  return root


def pair(root, name=""):
  return f"--visible={root / 'vi' / name}", f"--infrared={root / 'ir' / name}"


def test_a_folder_gives_a_rig_and_a_picture(folders, capsys):
  rig = load(folders / "rig.json")
  assert two_cameras.error(rig.matrix) < 0.7
  assert [score.name for score in rig.scores] == ["0", "2", "3"]  # evenly, of four
  assert rig.confidence.ratio > 2 and not rig.confidence.accepted
  picture = read_image(folders / "check.png")
  assert picture.shape == (3 * 300 + 2 * 6, 4 * 400 + 3 * 6, 3)
  edges = picture[:300, 2 * 406 :].astype(float)  # before and after
  red, cyan = edges[..., 0], edges[..., 1]
  before, after = (
    np.corrcoef(red[:, part].ravel(), cyan[:, part].ravel())[0, 1]
    for part in (slice(0, 400), slice(406, 806))
  )
  assert after > before + 0.2


def test_a_pair_of_other_scenes_is_refused_and_nothing_written(folders, tmp_path, capsys):
  flags = (f"--visible={folders / 'vi/0.png'}", f"--infrared={folders / 'ir/3.png'}")
  flags += (f"--save={tmp_path / 'rig.json'}",)
  assert run(command, *flags) == 1
  told = capsys.readouterr()
  assert "refused, nothing is saved: margin" in told.err and "3 or more pairs" in told.err
  assert not (tmp_path / "rig.json").exists()
  assert run(command, *flags, "--accept") == 0
  assert "cannot be believed" in capsys.readouterr().err
  assert json.loads((tmp_path / "rig.json").read_text())["confidence"]["accepted"]


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--visible=/nowhere", "--infrared=/nowhere"], "/nowhere: does not exist"),
    (["--pairs=0"], "--pairs=0; allowed: 1 or more"),
    (["--picture=check.xyz"], "cannot write '.xyz' files"),
    (["--save=/proc"], "--save=/proc is a folder"),
    (["--mounting=left"], "--mounting=left; allowed: upright, any"),
  ],
)
def test_flags_that_cannot_be_used_end_with_2(folders, capsys, flags, said):
  assert run(command, *pair(folders), "--save=rig.json", *flags) == 2
  assert said in capsys.readouterr().err


def test_a_folder_is_fused_at_the_visible_grid(folders, tmp_path, capsys):
  flags = (f"--align={folders / 'rig.json'}", "--weights=average", f"--output={tmp_path}")
  assert run(fuse, *pair(folders), *flags) == 0
  said = capsys.readouterr().out
  rig = load(folders / "rig.json")
  assert f"by the rig: the infrared camera saw {100 * rig.share:.1f} % of the visible" in said
  visible, fused = read_image(folders / "vi/1.png"), read_image(tmp_path / "1.png")
  warped, mask = rig.warp(folders / "ir/1.png")
  assert fused.shape == visible.shape and 0.5 < mask.mean() < 0.95
  np.testing.assert_array_equal(fused[~mask], visible[~mask])
  assert (fused[mask] != visible[mask]).mean() > 0.5
  # The infrared counts count: by the range of the whole frame.
  luma = np.asarray(Image.fromarray(fused).convert("L")).astype(float)
  own = np.asarray(Image.fromarray(visible).convert("L")).astype(float)
  level = np.clip((warped - np.percentile(read_image(folders / "ir/1.png"), 1)) / 6, 0, 255)
  assert np.corrcoef((2 * luma - own)[mask], level[mask])[0, 1] > 0.95


def test_gray_results_have_the_visible_luma_outside(folders, tmp_path):
  flags = (f"--align={folders / 'rig.json'}", "--weights=maximum", "--gray")
  assert run(fuse, *pair(folders, "2.png"), *flags, f"--output={tmp_path / 'f.png'}") == 0
  fused = read_image(tmp_path / "f.png")
  mask = load(folders / "rig.json").warp(folders / "ir/2.png")[1]
  own = np.asarray(Image.open(folders / "vi/2.png").convert("L"))
  assert fused.shape == (120, 160, 1)
  assert abs(fused[..., 0].astype(int) - own)[~mask].max() <= 1


def test_sizes_that_are_not_the_rigs_fail_by_name(folders, tmp_path, capsys):
  Image.new("L", (96, 96)).save(tmp_path / "other.png")
  flags = [f"--align={folders / 'rig.json'}", f"--output={tmp_path / 'f.png'}"]
  flags += ["--weights=average", f"--infrared={tmp_path / 'other.png'}"]
  assert run(fuse, f"--visible={folders / 'vi/0.png'}", *flags) == 1
  said = capsys.readouterr().err
  assert "the infrared image is 96x96; the rig was aligned with infrared images of 96x72" in said
  assert not (tmp_path / "f.png").exists()
  assert run(fuse, f"--visible={folders / 'vi/0.png'}", *flags, "--resize=infrared") == 2
  assert "allowed: one of them" in capsys.readouterr().err


def test_auto_aligns_a_pair_or_refuses_it(folders, tmp_path, capsys):
  flags = ("--align=auto", "--weights=average", f"--output={tmp_path / 'f.png'}")
  assert run(fuse, *pair(folders, "0.png"), *flags) == 0
  assert "aligned each pair by itself" in capsys.readouterr().out
  (tmp_path / "f.png").unlink()
  wrong = (f"--visible={folders / 'vi/0.png'}", f"--infrared={folders / 'ir/3.png'}")
  assert run(fuse, *wrong, *flags) == 1
  assert "cannot be aligned by itself: margin" in capsys.readouterr().err
  assert not (tmp_path / "f.png").exists()


def test_frames_of_sequences_are_taken_evenly(tmp_path, monkeypatch, capsys):
  given = {}

  def find(visibles, infrareds, names, **_):
    given.update(names=names, visibles=visibles, infrareds=infrareds)
    sizes = visibles[0].shape[:2], infrareds[0].shape[:2]
    return Rig(np.eye(3), *sizes, (), Confidence(1.0, 1.0))

  monkeypatch.setattr(implementation, "find", find)
  frames = [np.full((32, 40), 10 * k, np.uint8) for k in range(12)]
  (tmp_path / "vi").mkdir()
  for k, frame in enumerate(frames):
    Image.fromarray(frame).save(tmp_path / "vi" / f"{k + 1}.png")
  tifffile.imwrite(
    tmp_path / "ir.tif", np.stack(frames) + np.uint16(7000), photometric="minisblack"
  )
  flags = (f"--visible={tmp_path / 'vi'}", f"--infrared={tmp_path / 'ir.tif'}", "--pairs=3")
  assert run(command, *flags, f"--save={tmp_path / 'rig.json'}") == 0
  assert given["names"] == ["frame 0", "frame 6", "frame 11"]
  assert [image.mean() for image in given["infrareds"]] == [7000, 7060, 7110]
  assert [image.mean() for image in given["visibles"]] == [0, 60, 110]
  assert "0 of 12 pairs, visible 40x32" in capsys.readouterr().out
  assert run(command, "--visible=x", "--offset=1", "--save=y") == 2
  assert "--offset=1.0 is for sequences" in capsys.readouterr().err
