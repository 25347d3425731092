"""All commands with what they read and write in a bucket: they do there what they do here."""

import json
import shutil

import jax
import numpy as np
import pytest
import two_cameras
import videos
from buckets import get, only_on, put
from full import only_full
from PIL import Image

from cfi_jax.align import __main__ as align
from cfi_jax.analyze import __main__ as analyze
from cfi_jax.core import cli, storage
from cfi_jax.export import __main__ as export
from cfi_jax.fuse import __main__ as fuse
from cfi_jax.registration.rig import Confidence, Rig
from cfi_jax.study import __main__ as study
from cfi_jax.systems import files as weights
from cfi_jax.systems import isfuse
from cfi_jax.transfer import __main__ as transfer
from cfi_jax.transfer import command as transferring
from cfi_jax.weather import __main__ as weather

PAIRS = "--visible=IN/visible --infrared=IN/infrared"
VIDEOS = "--visible=IN/vi.mkv --infrared=IN/ir.mkv --weights=average"
PERSON = "--target=IN/visible/003.png --target_keypoints=IN/pose_keypoints.json"
SCORES = "--config.metrics=('cc',) --config.judged=('average',) --config.methods.wavelet="
COMMANDS = {
  "weather": (weather, f"{PAIRS} --output=OUT --kind=rain"),
  "align": (
    align, "--visible=IN/vi --infrared=IN/ir --save=OUT/rig.json --picture=OUT/a.png --accept"
  ),
  "align and fuse": (
    fuse, "--visible=IN/vi --infrared=IN/ir --align=IN/rig.json --output=OUT --weights=average"
  ),
  "transfer": (transfer, f"--source=IN/visible {PERSON} --output=OUT"),
  "film": (transfer, f"--source=IN/visible {PERSON} --output=OUT/a.webp"),
  "stablehlo": (export, "--weights=average --sizes=24x24 --output=OUT/a.zip"),
  "video": (fuse, f"{VIDEOS} --output=OUT/a.mkv"),
  "frames": (fuse, f"{VIDEOS} --output=OUT/frames"),
  "masks": (fuse, f"{PAIRS} --weights=average --visible_valid=IN/visible --output=OUT"),
  "volumes": (
    fuse, "--visible=IN/a.nii.gz --infrared=IN/a.nii.gz --weights=average --output=OUT/f"
  ),
  "analyze": (
    analyze, f"--weights=IN/own.safetensors {PAIRS} --pairs=2 --parts=gates --output=OUT"
  ),
  "study": (
    study,
    "--config=configs/weather.py --workdir=OUT --config.roots.tno=IN/tno --config.score=('tno',) "
    "--config.pairs=2 --config.kinds=('rain',) --config.levels=('heavy',) --config.seeds=(0,) "
    f"--config.methods.visible_infrared=maximum {SCORES}",
  ),
}  # fmt: skip
# Files that hold times, paths or marks that are drawn.
UNLIKE = {"a.zip", "a.mkv", "report.html", "summary.md", "scores/tno/run.json"}


class Turning:
  """Stands for weights of pose transfer: shows the person turned round."""

  def transfer(self, source, target, *poses):
    return target[::-1]

  def sequence(self, frames, target, *poses):
    return (target[::-1] for _ in frames)


def run(command, flags: str, source, output) -> int:
  """The exit status of a command in this process."""
  given = flags.replace("IN/", f"{source}/").replace("OUT", str(output)).split()
  return cli.status(command.main, command.FLAGS, "", given)


ARCHITECTURE = dict(
  name="isfuse", features=4, grid=2, shared_encoder=False, gate="paper", padding="reflect", levels=2
)


def weights_file(folder):
  """Weights of a tiny network, all of them one half."""
  variables = jax.tree.map(lambda x: np.full(x.shape, 0.5, x.dtype), isfuse.shapes(ARCHITECTURE))
  card = weights.Card("isfuse", ARCHITECTURE, "halves", "none", "2026-01-01", "none")
  weights.save(folder / "own.safetensors", variables, card)
  return folder / "own.safetensors"


@pytest.fixture
def files(tmp_path, pairs, monkeypatch):
  """Inputs of all commands in one folder of this machine."""
  nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")
  two_cameras.hasten(monkeypatch)
  monkeypatch.setattr(transferring, "load_transferrer", lambda *_, **__: Turning())
  root = pairs.rename(tmp_path / "root")
  for name, images in zip(("vi", "ir"), two_cameras.rig(3), strict=True):
    (root / name).mkdir()
    for k, image in enumerate(images):
      Image.fromarray(image.astype(np.uint8)).save(root / name / f"{k}.png")
  celsius = list(videos.world(3))
  videos.write(root / "vi.mkv", map(videos.photo, celsius))
  videos.write(root / "ir.mkv", map(videos.counts, celsius))
  for name, folder in (("vi", "visible"), ("ir", "infrared")):
    shutil.copytree(root / folder, root / "tno" / name)
  Rig(two_cameras.TRUTH, two_cameras.SIZE, two_cameras.INFRARED, (), Confidence(1, 1)).save(
    root / "rig.json"
  )
  body = {"pose_keypoints_2d": [float(k % 24) for k in range(3 * 18)]}
  (root / "pose_keypoints.json").write_text(json.dumps({"people": [body]}))
  (root / "own.safetensors").write_bytes(weights_file(tmp_path).read_bytes())
  scan = np.random.default_rng(0).integers(0, 900, (12, 10, 6)).astype(np.int16)
  nibabel.save(nibabel.Nifti1Image(scan, np.eye(4)), root / "a.nii.gz")
  return root


# Whose programs take longest to compile.
SLOW = ("weather", "align", "analyze", "study")


@pytest.mark.parametrize(
  "name", [pytest.param(name, marks=[only_full] * (name in SLOW)) for name in COMMANDS]
)
def test_a_command_does_in_a_bucket_what_it_does_here(name, bucket, files, tmp_path, capsys):
  only_on("s3", bucket)
  put(bucket / "in", files)
  command, flags = COMMANDS[name]
  here, there = tmp_path / "out", bucket / "out"
  for root, out in ((files, here), (bucket / "in", there)):
    status = run(command, flags, root, out)
    said = capsys.readouterr()
    assert status == 0, said.err + said.out
  local = {str(p.relative_to(here)): p.read_bytes() for p in storage.files_below(here)}
  remote = get(there)
  assert local.keys() == remote.keys() and local
  for key in local.keys() - UNLIKE:
    assert remote[key] == local[key], key
