"""The commands `cfi_jax.fuse` and `cfi_jax.convert`, as a user runs them."""

import os
import shutil

import command_line
import numpy as np
import pytest
from command_line import SHARED
from full import FULL
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images.read import read_image
from cfi_jax.systems import files as weights
from cfi_jax.systems import isfuse
from cfi_jax.systems.files import load_fuser as load

OFFICIAL = SHARED / "reference" / "official"
needs_official = pytest.mark.skipif(not OFFICIAL.exists(), reason=f"needs {OFFICIAL}")


def run(module, **flags):
  """Runs a command; returns it finished, with its text."""
  arguments = [f"--{name}={value}" for name, value in flags.items()]
  return command_line.run(f"cfi_jax.{module}", *arguments)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
  """Small random weights."""
  import jax

  architecture = {
    "name": "isfuse",
    "features": 4,
    "grid": 8,
    "shared_encoder": False,
    "gate": "released",
    "padding": "zeros",
    "levels": 3,
  }
  random = np.random.default_rng(0)
  shapes = isfuse.shapes(architecture)
  variables = jax.tree.map(lambda s: random.uniform(0.1, 0.3, s.shape), shapes)
  path = tmp_path_factory.mktemp("weights") / "w.safetensors"
  weights.save(path, variables, weights.Card("isfuse", architecture, "", "", "", ""))
  return path


def make_folders(root, names):
  random = np.random.default_rng(0)
  for role in ("visible", "infrared"):
    (root / role).mkdir()
    for name in names:
      picture = random.integers(0, 256, (24, 32, 3 if role == "visible" else 1), np.uint8)
      Image.fromarray(picture.squeeze()).save(root / role / f"{name}.png")
  return {"visible": root / "visible", "infrared": root / "infrared", "output": root / "fused"}


def test_a_folder_with_a_bad_pair(tmp_path, weights_file):
  paths = make_folders(tmp_path, "abcd")
  (paths["visible"] / "b.png").write_bytes(b"")
  done = run("fuse", **paths, weights=weights_file)
  assert done.returncode == 1
  assert "fused 3 of 4 pairs" in done.stdout and "megapixels/s" in done.stdout
  assert "failed: b: " in done.stderr and "empty" in done.stderr and "Traceback" not in done.stderr
  assert sorted(p.name for p in paths["output"].iterdir()) == ["a.png", "c.png", "d.png"]

  # The second run leaves what is there, and a machine's share is a, b and c.
  (paths["output"] / "d.png").unlink()
  shutil.copy(paths["visible"] / "a.png", paths["visible"] / "b.png")
  (paths["output"] / "a.png").write_text("kept")
  share = {"process_index": 1, "process_count": 2, "skip_existing": True}
  done = run("fuse", **paths, weights=weights_file, **share)
  assert done.returncode == 0 and "fused 1 of 1 pairs" in done.stdout and "2 skipped" in done.stdout
  assert sorted(p.name for p in paths["output"].glob("*.png")) == ["a.png", "b.png", "c.png"]
  assert (paths["output"] / "a.png").read_text() == "kept"

  # What is empty is no result.
  (paths["output"] / "c.png").write_text("")
  done = run("fuse", **paths, weights=weights_file, **share)
  assert "fused 1 of 1 pairs" in done.stdout and (paths["output"] / "c.png").stat().st_size


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"weights": ""}, "--weights is missing"),
    ({"weights": "absent.safetensors"}, "absent.safetensors: does not exist"),
    ({"visible": "absent"}, "absent: does not exist"),
    ({"weights": __file__}, "python -m cfi_jax.convert"),
    ({"output": __file__}, "is a file; two folders need a folder"),
    ({"memory": 3}, "unexpected argument '--memory' (did you mean '--memory_mb'?)"),
    ({"memory_mb": 0}, "memory_mb is 0"),
    ({"resize": "visible"}, "--resize=visible; allowed: infrared"),
    ({"format": "gif"}, "cannot write '.gif' files; allowed: .png"),
    ({"dtype": "int8"}, "int8"),
    ({"process_index": 0}, "both are needed"),
  ],
  ids=str,
)
def test_what_cannot_be_begun_ends_with_a_message(tmp_path, weights_file, changes, words):
  paths = make_folders(tmp_path, "a")
  done = run("fuse", **{**paths, "weights": weights_file, **changes})
  assert done.returncode == 2 and words in done.stderr
  assert "Traceback" not in done.stderr and not paths["output"].exists()


@needs_official
def test_the_authors_weights_give_their_pictures(tmp_path):
  """Convert, then fuse the TNO pairs whose results are known, from file to file."""
  path = tmp_path / "isfuse.safetensors"
  done = run("convert", checkpoint=OFFICIAL / "isfuse_best.pth", output=path)
  assert done.returncode == 0 and "192388 parameters" in done.stdout, done.stderr
  model = load(path)
  assert weights.load(path)[1].architecture["gate"] == "released"
  known = sorted((OFFICIAL / "tno_fused").glob("*.png"))
  assert len(known) == 6
  known = known if FULL else known[:2]
  for role, folder in (("visible", "vi"), ("infrared", "ir")):
    (tmp_path / role).mkdir()
    for picture in known:
      shutil.copy(SHARED / "data" / "tno" / folder / picture.name, tmp_path / role)
  paths = {"visible": tmp_path / "visible", "infrared": tmp_path / "infrared"}
  done = run("fuse", **paths, output=tmp_path / "fused", weights=path)
  assert done.returncode == 0, done.stderr
  for picture in known:
    difference = read_image(tmp_path / "fused" / picture.name).astype(int) - read_image(picture)
    assert np.abs(difference).max() <= 1 and (difference == 0).mean() >= 0.999
  with np.load(OFFICIAL / "outputs.npz") as reference:
    for side in ("64", "256"):
      images = (reference[f"{side}/{m}"] for m in ("visible", "infrared"))
      np.testing.assert_allclose(model.fuse(*images), reference[f"{side}/fused"], atol=2e-5, rtol=0)


@needs_official
def test_the_authors_weights_in_float64(x64, tmp_path):
  variables, card = weights.read(OFFICIAL / "isfuse_best.pth")
  weights.save(tmp_path / "w.safetensors", variables, card)
  model = load(tmp_path / "w.safetensors", dtype="float64")
  with np.load(OFFICIAL / "outputs.npz") as reference:
    images = (reference[f"64/{m}"].astype(np.float64) for m in ("visible", "infrared"))
    np.testing.assert_allclose(model.fuse(*images), reference["64/fused"], atol=1e-9, rtol=0)


@pytest.mark.parametrize(
  ("checkpoint", "output", "words"),
  [
    ("text.pth", "w.safetensors", "not a PyTorch checkpoint"),
    ("", "w.safetensors", "--checkpoint is missing"),
    ("text.pth", "w.pth", "must end in .safetensors"),
  ],
)
def test_what_cannot_be_converted_ends_with_a_message(tmp_path, checkpoint, output, words):
  (tmp_path / "text.pth").write_text("hello")
  path = tmp_path / checkpoint if checkpoint else ""
  done = run("convert", checkpoint=path, output=tmp_path / output)
  assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
  assert os.listdir(tmp_path) == ["text.pth"]


def test_pairs_that_look_swapped_are_told_from_other_warnings(tmp_path, weights_file):
  paths = make_folders(tmp_path, "abc")
  for name in "ab":
    for role in ("visible", "infrared"):
      (paths[role] / f"{name}.png").rename(tmp_path / f"{role}.png")
    (tmp_path / "visible.png").rename(paths["infrared"] / f"{name}.png")
    (tmp_path / "infrared.png").rename(paths["visible"] / f"{name}.png")
  exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03\0\0\0\x01\0\x06"  # cut short
  with Image.open(paths["visible"] / "c.png") as picture:
    picture.save(paths["visible"] / "c.jpg", exif=exif)
  (paths["visible"] / "c.png").unlink()
  done = run("fuse", **paths, weights=weights_file)
  assert done.returncode == 0, done.stderr
  assert done.stderr.count("swapped?") == 1 and "(and 1 more such pairs)" in done.stderr
  assert "warning: Corrupt EXIF data" in done.stderr


def test_what_is_no_checkpoint_is_named(tmp_path):
  with pytest.raises(InputError, match="absent.pth: does not exist"):
    weights.read(tmp_path / "absent.pth")
  with pytest.raises(InputError, match="no workdir of a run"):
    weights.read(tmp_path)
