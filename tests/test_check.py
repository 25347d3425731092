import numpy as np
import pytest
from command_line import run
from PIL import Image


def draw(path, seed, channels):
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.random.default_rng(seed).integers(0, 256, (24, 20, channels), np.uint8)
  Image.fromarray(pixels.squeeze()).save(path)


@pytest.fixture
def msrs(tmp_path):
  """Four training pairs and two test pairs without fault."""
  for part, names in (("train", "abcd"), ("test", "xy")):
    for name in names:
      draw(tmp_path / part / "vi" / f"{name}.png", ord(name), 3)
      draw(tmp_path / part / "ir" / f"{name}.png", 1000 + ord(name), 1)
  return tmp_path


def command(root):
  arguments = ["--config=configs/msrs.py", f"--config.data.root={root}"]
  return run("cfi_jax.check", *arguments)


def test_the_command_tells_by_its_exit_status(msrs):
  sound = command(msrs)
  assert (sound.returncode, "nothing wrong" in sound.stdout) == (0, True), sound.stderr
  draw(msrs / "train" / "vi" / "more.png", 0, 1)
  faulty = command(msrs)
  assert (faulty.returncode, "problems: 1" in faulty.stdout) == (1, True), faulty.stderr
  absent = command(msrs / "absent")
  assert absent.returncode == 2 and "the root does not exist" in absent.stderr
  assert "Traceback" not in absent.stderr
