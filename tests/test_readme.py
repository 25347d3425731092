"""Every command of the README is run, shrunk by overrides; every file it names exists."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from command_line import ROOT, run
from PIL import Image

from cfi_jax.weights import shipped

README = (ROOT / "README.md").read_text()
COMMANDS = [
  part.strip()
  for block in re.findall("```bash\n(.*?)```", README, re.DOTALL)
  for line in block.splitlines()
  for part in line.split("&&")
]
TINY = ["steps=1", "input.crop=16", "batch_size=2", "model.features=4", "model.grid=2"]
TINY += ["validation_pairs=1", "pictures=1", "validation_metrics=('EN',)"]
# As the other tests, and with that their compiled step.
TINY += ["loss.invariance.views=('complementary',)", "loss.necessity.views=()", "input.device_gb=0"]
TINY += ["model.gate=paper", "model.shared_encoder=True", "optim.schedule=constant"]
TINY += ["optim.learning_rate=1e-4"]
SYNTHETIC = ["data.scenes=4", "data.validation_scenes=1", "data.test_scenes=1", "data.size=32"]
QUICK = ["--turns=1", "--floor_mb=1", "--floor_side=64"]


@pytest.fixture(scope="module")
def msrs(tmp_path_factory, write_pairs):
  """A tiny MSRS root."""
  root = tmp_path_factory.mktemp("msrs")
  for seed, part in enumerate(("train", "test")):
    write_pairs(root / part / "pairs", 4, seed)
    (root / part / "pairs" / "visible").rename(root / part / "vi")
    (root / part / "pairs" / "infrared").rename(root / part / "ir")
    (root / part / "pairs").rmdir()
  for path in list((root / "test").rglob("*.png")):
    path.rename(path.with_stem(f"test{path.stem}"))
  return root


def test_the_commands_are_those_known_here():
  installing = [command for command in COMMANDS if command.startswith("pip install")]
  extras = [f'pip install -e ".[{extra}]"' for extra in ("test", "analyze")]
  assert installing == ["pip install -e .", *extras]
  assert "pytest" in COMMANDS
  assert len(COMMANDS) - len(installing) - 1 == len(RUNNABLE) >= 6


RUNNABLE = [c for c in COMMANDS if re.match(r"python -m cfi_jax\.|launch/", c)]


def test_commands_run_in_order(tmp_path, msrs):
  for command in RUNNABLE:
    overrides = []
    if "--config=" in command:
      overrides = [f"--config.{item}" for item in TINY] + ["--config.masks.size=(4, 4)"]
    if "synthetic" in command:
      overrides += [f"--config.{item}" for item in SYNTHETIC]
    if "cfi_jax.evaluate" in command:
      overrides = ["--metrics=EN,SSIM"]
    if "cfi_jax.analyze" in command:
      overrides = ["--parts=gates,features"]
    if "cfi_jax.benchmark" in command:
      overrides += QUICK
    words = command.replace("isfuse_best.pth", "runs/msrs")  # our own run in the place of theirs
    # One process has its program already; two are started by tests/test_resume.py.
    words = words.replace("launch/local.sh 2", "launch/local.sh 1")
    ours = r"(?<![\w.])(runs/|tfds_data\b|isfuse\.|FUSED|scores\b|results/|analysis\b)"
    words = re.sub(ours, rf"{tmp_path}/\1", words)
    for name, path in (("VISIBLE", "test/vi"), ("INFRARED", "test/ir"), ("PATH", "")):
      words = words.replace(name, str(msrs / path))
    words = [*words.split(), *overrides]
    if words[:2] == ["python", "-m"]:
      result = run(*words[2:])
    else:
      result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    workdir = re.search(r"--workdir=(\S+)", " ".join(words))
    if workdir:
      assert list(pathlib.Path(workdir[1], "pictures").glob("*.png"))
      assert (pathlib.Path(workdir[1]) / "checkpoints" / "1").is_dir()
  shutil.rmtree(tmp_path)


NAMED = sorted(set(re.findall(r"`([\w/]+\.(?:py|cff|jsonl|json|txt))`", README)))


def test_pictures_exist():
  pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
  assert pictures
  for path in pictures:
    assert (ROOT / path).exists(), path


DOCUMENTS = ["README.md", "docs/RESULTS.md", "launch/README.md", "benchmarks/README.md"]
DOCUMENTS += [f"cfi_jax/weights/shipped/{name}.md" for name in shipped.SHA256]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
  for link in re.findall(r"\]\(([^)#\s]+)\)", (ROOT / document).read_text()):
    assert "://" in link or (ROOT / document).parent.joinpath(link).exists(), link


def test_tables_of_results_are_those_that_were_written():
  tables = {path: path.read_text().splitlines() for path in (ROOT / "docs/results").glob("*.md")}
  written = {line for lines in tables.values() for line in lines}
  lines = [s for s in (ROOT / "docs/RESULTS.md").read_text().splitlines() if s.startswith("| ")]
  assert len(lines) > 40
  for line in lines:
    assert line in written, line


def test_the_picture_can_be_drawn_anew(tmp_path):
  output = tmp_path / "fuse.png"
  command = [sys.executable, "docs/fuse_picture.py", f"--output={output}", "--size=48"]
  subprocess.run(command, cwd=ROOT, check=True)
  with Image.open(output) as picture:
    assert picture.size == (3 * 48, 4 * 48)


@pytest.mark.parametrize("path", NAMED)
def test_named_files_exist(path):
  folders = (ROOT, ROOT / "cfi_jax", ROOT / "cfi_jax" / "models", ROOT / "configs", ROOT / "tests")
  written_by_a_run = {"metrics.jsonl", "run.json", "train.txt", "test.txt"}
  assert path in written_by_a_run or any((folder / path).exists() for folder in folders)
