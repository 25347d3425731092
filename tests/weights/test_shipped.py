"""The weights that the package carries: whole, verified, in the wheel, and good at their work."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from command_line import ROOT, run
from PIL import Image

import cfi_jax
from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.metrics import Triplet, score
from cfi_jax.systems import files as weights
from cfi_jax.systems.dfcnet import recipes as dfcnet_recipes
from cfi_jax.systems.dfcnet import trials
from cfi_jax.transfer import __main__ as transfer_command
from cfi_jax.weights import shipped

FIXTURE = ROOT / "tests" / "fixtures" / "metrics_fixture.npz"  # procedural images, four pairs
HOT = (48, 64)  # size of a scene with a hot object
METRICS = ("AG", "SSIM", "Qabf", "VIF")
# Means over the four pairs by the convention tang, of the files that the command writes.
EXPECTED = {
  "visible-infrared": (9.161, 0.4980, 0.5463, 0.4615),
  "medical": (9.382, 0.5231, 0.5827, 0.4704),
}

FIGURES_AHEAD = {"PSNR": 0.5, "foreground PSNR": 0.5, "PCK": 0.0}


@pytest.fixture(scope="module")
def pairs():
  """(visible, infrared), uint8 [H, W], by name."""
  with np.load(FIXTURE) as fixture:
    keys = ("t1", "t2", "t3", "t4")
    return {key: (fixture[f"{key}_visible"], fixture[f"{key}_infrared"]) for key in keys}


@pytest.fixture(scope="module")
def fuser(pairs):
  """The default weights, with one program for all pairs and `HOT`."""
  fuser = cfi_jax.load()
  fuser.reserve([HOT, *(visible.shape for visible, _ in pairs.values())], limit=1)
  return fuser


FUSION = shipped.of("isfuse")


@pytest.mark.parametrize("name", shipped.SHA256)
def test_the_card_says_what_the_file_is(name):
  _, card = weights.load(name)
  text = " ".join((shipped.FOLDER / f"{name}.md").read_text().split())
  path = shipped.FOLDER / f"{name}.safetensors"
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  chosen = str(shipped.CHOSEN[name])
  for fact in (digest, card.date, card.licence, chosen[0].upper() + chosen[1:]):
    assert fact in text, f"{name}.md does not say {fact!r}"
  for heading in ("Data", "Recipe", "Scores", "Limits", "Licence"):
    assert f" ## {heading} " in text, f"{name}.md has no {heading}"
  assert card.system == shipped.SYSTEMS[name] and path.stat().st_size <= 4 * 2**20
  if name in FUSION:
    assert "research" in card.licence and card.architecture["padding"] == "reflect"


def test_all_weights_say_what_they_were_chosen_by():
  assert list(shipped.CHOSEN) == list(shipped.SHA256) == list(shipped.SYSTEMS)
  for choice in shipped.CHOSEN.values():
    assert set(choice.tests) <= set(datasets.DATASETS)
  pairs = "a held-out part of the training pairs"
  assert str(shipped.Choice(pairs)) == f"recipe and seed were chosen by the scores on {pairs}"


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
  name = shipped.DEFAULT
  path = tmp_path / f"{name}.safetensors"
  damaged = bytearray((shipped.FOLDER / path.name).read_bytes())
  damaged[-1] ^= 1
  path.write_bytes(damaged)
  monkeypatch.setattr(shipped, "FOLDER", tmp_path)
  with pytest.raises(InputError, match=f"{path}: not the file that was shipped: its SHA-256 is"):
    cfi_jax.load()
  path.unlink()
  with pytest.raises(InputError, match=f"{path}: No such file"):
    cfi_jax.load(name)


def test_a_wrong_name_is_told_the_right_ones():
  with pytest.raises(InputError, match="thermal: does not exist; .* visible-infrared, medical"):
    cfi_jax.load("thermal")


@pytest.mark.parametrize("name", FUSION)
def test_the_command_fuses_with_them_as_well_as_they_are_known_to(name, pairs, tmp_path):
  for key, pair in pairs.items():
    for role, image in zip(("visible", "infrared"), pair, strict=True):
      (tmp_path / role).mkdir(exist_ok=True)
      Image.fromarray(image).save(tmp_path / role / f"{key}.png")
  chosen = [] if name == shipped.DEFAULT else [f"--weights={name}"]
  folders = [f"--{role}={tmp_path / role}" for role in ("visible", "infrared", "output")]
  done = run("cfi_jax.fuse", *folders, *chosen)
  assert done.returncode == 0 and "fused 4 of 4 pairs" in done.stdout, done.stderr
  triplets = []
  for key, (visible, infrared) in pairs.items():
    with Image.open(tmp_path / "output" / f"{key}.png") as picture:
      fused = np.asarray(picture)
    average = np.rint((visible.astype(float) + infrared) / 2).astype(np.uint8)
    for method, image in (("fused", fused), ("average", average)):
      triplets.append(Triplet(method, key, visible, infrared, image))
  table = score(triplets, METRICS, "tang")
  found = [table.mean(metric, "fused") for metric in METRICS]
  assert found == pytest.approx(EXPECTED[name], rel=0.01)
  assert table.mean("Qabf", "fused") > 1.2 * table.mean("Qabf", "average")


def test_figures_are_ahead_of_the_skeleton_warp(tmp_path):
  """On two people of the test, in poses of the test, as the card says of all."""
  data = dfcnet_recipes.small().data.to_dict()
  data.update(people=2, poses=2, groups=1, support=2, held_out_people=2, held_out_poses=2)
  people = datasets.load(data | {"test_pairs": 8})
  source = people.source("test")
  methods = {
    "ours": weights.load_transferrer(shipped.DEFAULT_TRANSFER).draw,
    "warp": trials.baseline("skeleton warp", lambda: people.album("train")),
  }
  found = trials.score(source, methods, weights.load_transferrer(shipped.DEFAULT_TRANSFER))
  for name in ("PSNR", "foreground PSNR", "PCK"):
    assert found["ours", name].mean() > found["warp", name].mean() + FIGURES_AHEAD[name], name
  # The command takes them where no weights are named.
  images = source.album("test").images
  for name, image in (("source", images[1]), ("target", images[2])):
    Image.fromarray(image).save(tmp_path / f"{name}.png")
  given = {name: flag.default for name, flag in transfer_command.FLAGS.items()}
  given |= {name: str(tmp_path / f"{name}.png") for name in ("source", "target", "output")}
  assert transfer_command.main(given) == 0
  with Image.open(tmp_path / "output.png") as made:
    assert made.size == (64, 64) and (np.asarray(made) != images[2]).any()


def test_black_is_as_grey_as_the_card_says(fuser, pairs):
  text = (shipped.FOLDER / f"{shipped.DEFAULT}.md").read_text()
  (level,) = re.findall(r"two black images give (\d+) of 255", text)
  black = np.zeros_like(pairs["t3"][0])
  assert fuser.fuse(black, black).mean() == pytest.approx(int(level), abs=1)
  assert fuser.fuse(*pairs["t3"]).mean() > 2 * int(level)


@pytest.mark.parametrize("modality", range(2))
@pytest.mark.parametrize("told", [True, False])
def test_holes_in_one_image_are_filled_in(modality, told, fuser, pairs):
  """They change less there than losing that image does, by a third in the mean of the pairs.

  Untold only where the pair is a scene; t2 and t3 are patterns, where holes are not found.
  """
  with_holes, without_image = [], []  # mean changes of the fused image within the holes
  for pair in pairs.values() if told else (pairs["t1"], pairs["t4"]):
    height, width = pair[modality].shape
    hole = np.zeros((height, width), bool)
    for y, x in ((height // 4 - 8, width // 4 - 8), (height // 2, width // 2)):
      hole[y : y + 16, x : x + 16] = True
    fused = fuser.fuse(*pair).astype(float)
    masks = {("visible", "infrared")[modality]: ~hole} if told else None
    for lost, changes, valid in (
      (hole, with_holes, masks),
      (np.ones_like(hole), without_image, None),
    ):
      treated = list(pair)
      treated[modality] = np.where(lost, np.uint8(0), pair[modality])
      changes.append(np.abs(fuser.fuse(*treated, valid=valid) - fused)[hole].mean())
  assert min(without_image) > 10
  assert all(np.less(with_holes, np.multiply(0.9, without_image)))
  assert sum(with_holes) < 2 / 3 * sum(without_image)


def test_a_sound_pair_is_fused_as_by_the_rule(fuser, pairs):
  """On the average over the pixels; dark and saturated parts of either image are no holes."""
  rule = cfi_jax.load(weights.load(shipped.DEFAULT)[1].architecture["prior"])
  for visible, infrared in (pairs["t1"], pairs["t4"]):
    change = np.abs(fuser.fuse(visible, infrared).astype(float) - rule.fuse(visible, infrared))
    assert 0 < change.mean() < 0.02 * 255


@pytest.mark.parametrize("level", [200, 255])
@pytest.mark.parametrize("key", ["t1", "t4"])
def test_a_flat_hot_object_is_no_hole(key, level, fuser, pairs):
  """Figures of 13 and 33 pixels keep most of the contrast that the rule gives them."""
  visible, infrared = pairs[key]
  rule = cfi_jax.load(weights.load(shipped.DEFAULT)[1].architecture["prior"])
  height, width = visible.shape
  y, x = np.mgrid[:height, :width]
  for size in (6, 16):
    hot = np.zeros((height, width), bool)
    for row, column in ((height // 4, width // 3), (2 * height // 3, 2 * width // 3)):
      hot |= (np.abs(y - row) <= size) & (np.abs(x - column) <= size / 3)
      hot |= (y - row + size * 1.3) ** 2 + (x - column) ** 2 <= (size / 3) ** 2
    given = np.where(hot, np.uint8(level), np.minimum(infrared, 180))
    pictures = [f.fuse(visible, given).astype(float) for f in (rule, fuser)]
    contrasts = [p[hot].mean() - p[~hot].mean() for p in pictures]
    assert contrasts[1] > 0.73 * contrasts[0] > 35, size


def test_of_identical_images_no_light_vanishes(fuser, pairs):
  """Doubts that both images share leave both as they are."""
  rule = cfi_jax.load(weights.load(shipped.DEFAULT)[1].architecture["prior"])
  image = pairs["t1"][0].copy()
  image[20:76:8, 20:108:8] = 255  # lights of a single pixel
  change = np.abs(fuser.fuse(image, image).astype(int) - rule.fuse(image, image))
  assert change.max() <= 24 and change.mean() < 1


def test_the_wheel_carries_weights_and_cards(tmp_path):
  source = tmp_path / "source"
  ignored = shutil.ignore_patterns("__pycache__")
  shutil.copytree(ROOT / "cfi_jax", source / "cfi_jax", ignore=ignored)
  for file in ("pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / file, source)
  command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
  subprocess.run([*command, "-w", tmp_path, source], check=True)
  (wheel,) = tmp_path.glob("*.whl")
  with zipfile.ZipFile(wheel) as archive:
    for name, digest in shipped.SHA256.items():
      data = archive.read(f"cfi_jax/weights/shipped/{name}.safetensors")
      assert hashlib.sha256(data).hexdigest() == digest
      assert archive.read(f"cfi_jax/weights/shipped/{name}.md")
    licence = archive.read("cfi_jax/weights/shipped/LICENSE").decode()
    metadata = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    (reference,) = re.findall(r"LicenseRef-\S+", archive.read(metadata).decode().split("\n\n")[0])
    assert f"SPDX-License-Identifier: {reference}\n" in licence


@pytest.mark.filterwarnings("ignore::cfi_jax.fusion.inputs.StretchedWarning")
def test_a_hot_object_in_raw_counts_keeps_its_contrast(fuser):
  """Fused raw counts, kelvin and degrees against the same scene in 8 bits, by the same window."""
  y, x = np.mgrid[: HOT[0], : HOT[1]]
  heat = np.exp(-((y - 20) ** 2 + (x - 40) ** 2) / 80)
  noise = np.random.default_rng(0).normal(0, 4, heat.shape)
  counts = 29_315 + 1500 * heat + noise
  visible = (60 + 80 * x / 64 + 30 * np.sin(y / 7)).astype(np.uint8)
  low, high = np.percentile(counts, (1, 99))
  eight = np.rint(255 * np.clip((counts - low) / (high - low), 0, 1)).astype(np.uint8)

  def contrast(infrared, **options):
    fused = fuser.fuse(visible, infrared, **options).astype(float)
    return fused[heat > 0.8].mean() - fused[heat < 0.01].mean()

  expected = contrast(eight)
  assert expected > 100
  units = {
    "counts": counts.astype(np.uint16),
    "14 bits": (counts / 4).astype(np.uint16),
    "kelvin": (counts / 100).astype(np.float32),
    "celsius": counts / 100 - 273.15,
    "signed": (counts - 30_000).astype(np.int16),
  }
  for unit, values in units.items():
    assert contrast(values) == pytest.approx(expected, rel=0.05), unit
  # Without a rule only the visible image would be seen.
  assert abs(contrast(units["counts"], normalize="full")) < 0.2 * expected
