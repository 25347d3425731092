"""Messages of the training command on input it cannot use, before the first step."""

import os
import shutil

import numpy as np
import pytest
from command_line import ROOT, run
from PIL import Image


def save(path, size=(24, 24), mode="L"):
  Image.new(mode, size[::-1], 100).save(path)


def break_names(root):
  (root / "visible" / "000.png").rename(root / "visible" / "extra.png")


def break_size(root):
  save(root / "infrared" / "003.png", (24, 30))


def break_tail(root):
  path = root / "visible" / "002.png"
  path.write_bytes(path.read_bytes()[:-30])


def break_empty_file(root):
  (root / "visible" / "002.png").write_bytes(b"")


def break_text(root):
  (root / "infrared" / "004.png").write_text("no image")


def break_colours(root):
  path = root / "infrared" / "004.png"
  path.unlink()
  Image.new("LAB", (24, 24)).save(path.with_suffix(".tiff"))


def break_root(root):
  shutil.rmtree(root)


def break_folder(root):
  shutil.rmtree(root / "infrared")


def break_folder_empty(root):
  shutil.rmtree(root / "infrared")
  (root / "infrared").mkdir()


FILES = {
  "names": (break_names, ["000", "extra"]),
  "size": (break_size, ["visible/003.png", "infrared/003.png", "24", "30"]),
  "truncated": (break_tail, ["visible/002.png"]),
  "zero bytes": (break_empty_file, ["visible/002.png"]),
  "no image": (break_text, ["infrared/004.png"]),
  "channels": (break_colours, ["infrared/004.tiff", "LAB"]),
  "missing root": (break_root, ["pairs"]),
  "missing folder": (break_folder, ["infrared"]),
  "empty folder": (break_folder_empty, ["infrared"]),
}


@pytest.mark.parametrize("case", FILES)
def test_files(tmp_path, trainer, case):
  break_it, texts = FILES[case]
  break_it(trainer.root)
  status, output = trainer.run(tmp_path / "run")
  assert status == 2, output
  assert "Traceback" not in output and output.count("error: ") == 1
  for text in texts:
    assert text in output
  assert not (tmp_path / "run").exists()


SETTINGS = {
  "misspelt key": ("batchsize=4", ["no key 'batchsize'", "did you mean 'batch_size'", "seed"]),
  "misspelt deep key": ("optim.lr=1", ["no key 'lr' in config.optim", "learning_rate, schedule"]),
  "wrong type": ("batch_size=two", ["batch_size", "two"]),
  "indivisible batch": ("batch_size=3", ["batch_size is 3", "multiples of 2"]),
  "small crop": ("input.crop=4", ["input.crop is 4", "8 or more"]),
  "holes": ("masks.size=(4, 40)", ["40", "input.crop 16"]),
  "memory": (
    "memory_gb=0.0001",
    ["step needs", "--config.batch_size (now 2) or --config.input.crop (now 16)"],
  ),
  "data set": ("data.name=mrss", ["'mrss'", "msrs, roadscene"]),
  "unknown view": ("loss.necessity.views=('flip',)", ["'flip'", "complementary, shared"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(tmp_path, trainer, case):
  override, texts = SETTINGS[case]
  # Holes larger than the crop would be refused first.
  small = ["masks.size=(1, 2)", "model.levels=3"]
  overrides = [override] + small * (case == "small crop")
  flags = os.environ["XLA_FLAGS"]
  if case == "indivisible batch":
    flags += " --xla_force_host_platform_device_count=2"
  status, output = trainer.run(tmp_path / "run", *overrides, XLA_FLAGS=flags)
  assert status == 2, output
  assert "Traceback" not in output
  for text in texts:
    assert text in output
  assert not (tmp_path / "run").exists()


FOLDER_CONFIG = str(ROOT / "configs" / "folder.py")


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (["--config", FOLDER_CONFIG, "--config.sed=1"], "did you mean 'seed'"),
    ([f"--config={FOLDER_CONFIG}", "--noconfig.input.flipp"], "did you mean 'flip'"),
    ([f"--config={FOLDER_CONFIG}", "--config.=1"], "no key ''"),
    ([f"--config={FOLDER_CONFIG}:papre", "--workdir=x"], "valid: released, paper"),
    ([f"--config={FOLDER_CONFIG}", "--workdir=x", "--processes=2"], "without --coordinator"),
    (
      [f"--config={FOLDER_CONFIG}", "--workdir=x", "--coordinator=auto", "--process=0"],
      "--coordinator=auto is given with --process",
    ),
    ([], "--config is missing"),
    (["--config=nowhere.py", "--workdir=x"], "nowhere.py"),
    (["--config.seed=1"], "--config.seed without --config=FILE"),
    (["--confg=x"], "confg"),
    (["stray"], "unexpected argument 'stray'"),
  ],
)
def test_command_line(arguments, text):
  result = run("cfi_jax.main", *arguments)
  assert result.returncode == 2, result.stderr
  assert text in result.stderr and "Traceback" not in result.stderr


def test_a_workdir_of_another_run_is_refused(tmp_path, trainer):
  workdir = tmp_path / "run"
  assert trainer.run(workdir, "steps=1")[0] == 0
  before = sorted(path.name for path in workdir.rglob("*"))
  status, output = trainer.run(workdir, "steps=1", "seed=5")
  assert status == 2 and "config.seed: 0, 5" in output
  save(trainer.root / "visible" / "new.png")
  save(trainer.root / "infrared" / "new.png")
  status, output = trainer.run(workdir, "steps=1")
  assert status == 2 and "data.train.pairs: 7, 8" in output
  assert sorted(path.name for path in workdir.rglob("*")) == before


def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(
  tmp_path, trainer, checkpoint_leaves
):
  workdir = tmp_path / "run"
  settings = ("optim.learning_rate=1e17", "steps=20", "checkpoint.every=1", "log_every=20")
  settings += ("loss.invariance.views=()", "loss.necessity.views=()")  # compiles faster
  status, output = trainer.run(workdir, *settings)
  assert status == 1, output
  assert "Traceback" not in output and "the loss is not finite at step" in output
  step = int(output.split("not finite at step ")[1].split(":")[0])
  assert " = nan" in output or " = inf" in output
  saved = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
  for name, leaf in checkpoint_leaves(workdir, max(saved)).items():
    assert np.isfinite(leaf).all(), name
  assert max(int(path.name) for path in (workdir / "checkpoints").iterdir()) == step - 1
