"""Accidents that any command can meet: no permission, a full disk, Ctrl-C, no device, bad configs.

Each ends in one line that names the place, before work where it can be known before.
"""

import errno
import importlib
import os
import shutil
import stat
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from command_line import FIXTURES, ROOT
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core import cli, files
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data import naming
from cfi_jax.fuse import command as fuse_command
from cfi_jax.fuse import jobs as fuse_jobs
from cfi_jax.images import write as pictures

MODULES = {"main": "main", "check": "check", "convert": "convert", "fuse": "fuse.__main__"}
MODULES |= {"evaluate": "evaluate.__main__"}


@pytest.fixture
def command(capfd):
  """f(name, *arguments) -> exit status and standard error of a command in this process."""

  def run(name, *arguments):
    module = importlib.import_module(f"cfi_jax.{MODULES[name]}")
    capfd.readouterr()
    status = cli.status(module.main, module.FLAGS, module.__doc__, list(map(str, arguments)))
    return status, capfd.readouterr().err

  return run


def is_one_line(err, *texts):
  """Whether an error is one line that holds the texts."""
  lines = [line for line in err.splitlines() if line.strip()]
  return len(lines) == 1 and lines[0].startswith("error: ") and all(t in lines[0] for t in texts)


def write_pairs(root):
  rng = np.random.default_rng(0)
  for folder, shape in (("visible", (16, 24, 3)), ("infrared", (16, 24))):
    (root / folder).mkdir(parents=True)
    for name in "abc":
      Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / folder / f"{name}.png")


@pytest.fixture
def place(monkeypatch):
  """A folder below which permissions count: this process gives up root's for the test."""
  folder = Path(tempfile.mkdtemp())
  folder.chmod(0o777)
  write_pairs(folder)
  shutil.copytree(folder / "visible", folder / "fused")
  shutil.copy(FIXTURES / "weights_1.safetensors", folder / "w.safetensors")
  shutil.copy(ROOT / "configs" / "folder.py", folder / "config.py")
  (folder / "locked").mkdir()
  root = os.geteuid() == 0
  # What is imported late could not be read.
  for name in MODULES.values():
    importlib.import_module(f"cfi_jax.{name}")
  yield folder
  if root:
    os.setresuid(0, 0, 0)
  for path in folder.rglob("*"):
    path.chmod(0o700)
  shutil.rmtree(folder)


def lock(path, mode=0):
  path.chmod(mode)
  if os.geteuid() == 0:
    os.setresuid(65534, 65534, 0)


READ_ONLY = stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH
FUSE = ("fuse", "--visible={}/visible", "--infrared={}/infrared")
EVALUATE = ("evaluate", "--visible={}/visible", "--infrared={}/infrared", "--fused=a:{}/fused")
TRAIN = ("main", "--config=" + str(ROOT / "configs" / "folder.py"), "--config.data.root={}")
LOCKED = {
  "fuse, visible": ("visible", 0, (*FUSE, "--output={}/out")),
  "fuse, output": ("locked", READ_ONLY, (*FUSE, "--output={}/locked")),
  "fuse, output below": ("locked", READ_ONLY, (*FUSE, "--output={}/locked/new")),
  "fuse, output hidden": ("locked", 0, (*FUSE, "--output={}/locked/new")),
  "fuse, weights": ("w.safetensors", 0, (*FUSE, "--output={}/out", "--weights={}/w.safetensors")),
  "fuse, one file": (
    "locked", READ_ONLY,
    (
      *("fuse", "--visible={}/visible/a.png", "--infrared={}/infrared/a.png"),
      "--output={}/locked/a.png",
    ),
  ),
  "evaluate, infrared": ("infrared", 0, (*EVALUATE, "--output={}/out")),
  "evaluate, output": ("locked", READ_ONLY, (*EVALUATE, "--output={}/locked")),
  "train, images": ("infrared", 0, (*TRAIN, "--workdir={}/run")),
  "train, one image": ("infrared/b.png", 0, (*TRAIN, "--workdir={}/run")),
  "train, workdir": ("locked", READ_ONLY, (*TRAIN, "--workdir={}/locked")),
  "train, workdir below": ("locked", READ_ONLY, (*TRAIN, "--workdir={}/locked/run")),
  "train, config": ("config.py", 0, ("main", "--config={}/config.py", "--workdir={}/run")),
  "check, images": ("visible", 0, ("check", *TRAIN[1:])),
  "convert, checkpoint": (
    "w.safetensors", 0, ("convert", "--checkpoint={}/w.safetensors", "--output={}/x.safetensors")
  ),
  "convert, output": (
    "locked", READ_ONLY,
    ("convert", "--checkpoint={}/w.safetensors", "--output={}/locked/x.safetensors"),
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", LOCKED)
def test_what_may_not_be_read_or_written_is_named_before_work(place, command, case, monkeypatch):
  path, mode, (name, *arguments) = LOCKED[case]
  if "weights" not in case:
    monkeypatch.setattr(fuse_command, "load_fuser", None)  # so late it never comes
  lock(place / path, mode)
  status, err = command(name, *(argument.format(place) for argument in arguments))
  if case == "train, one image":  # listed below the title of all images that cannot be used
    assert status == 2 and f"{place / path}: Permission denied" in err and "Traceback" not in err
  else:
    assert status == 2 and is_one_line(err, str(place / path)), err
    assert "ermission" in err
  assert not (place / "out").exists() and not (place / "run").exists()


def test_a_read_only_file_system_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "access", lambda path, mode: False)
  read_only = types.SimpleNamespace(f_flag=os.ST_RDONLY)
  monkeypatch.setattr(os, "statvfs", lambda path: read_only)
  with pytest.raises(InputError, match=f"a read-only file system in {tmp_path}"):
    files.require_folder(tmp_path / "out")


@pytest.fixture
def pairs(tmp_path, small, monkeypatch):
  write_pairs(tmp_path)
  monkeypatch.setattr(fuse_command, "load_fuser", lambda weights, **options: small)
  return [f"--{name}={tmp_path / name}" for name in ("visible", "infrared")]


def full(*arguments):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_fusing_stops_at_a_full_disk_and_goes_on(tmp_path, pairs, command, monkeypatch):
  output, replace, written = tmp_path / "out", os.replace, iter([True])

  def fill_after_one(source, to):
    if next(written, None) is None:  # one thread at a time takes what there is
      full()
    replace(source, to)

  monkeypatch.setattr(files.os, "replace", fill_after_one)
  status, err = command("fuse", *pairs, f"--output={output}")
  assert status == 2 and is_one_line(err[err.index("error: ") :], str(output), "No space left"), err
  assert "of 3 pairs are fused; with --skip_existing the same command goes on" in err
  (whole,) = output.iterdir()
  before = whole.read_bytes()
  monkeypatch.setattr(files.os, "replace", replace)
  status, _ = command("fuse", *pairs, f"--output={output}", "--skip_existing")
  assert status == 0 and len(list(output.iterdir())) == 3 and whole.read_bytes() == before


@pytest.mark.parametrize("late", [False, True])
def test_ctrl_c_while_fusing_leaves_whole_files(tmp_path, pairs, command, monkeypatch, late):
  write = pictures.write_image

  def interrupt(*arguments, **options):
    raise KeyboardInterrupt

  def write_half(path, image):
    if Path(path).stem == "b":
      interrupt()
    write(path, image)

  if late:  # inside the write itself
    monkeypatch.setattr(files.os, "chmod", interrupt)
  else:
    monkeypatch.setattr(fuse_jobs, "_compute", interrupt)
  status, err = command("fuse", *pairs, f"--output={tmp_path / 'out'}")
  assert status == 130 and "Traceback" not in err
  assert "interrupted: 0 of 3 pairs are fused; with --skip_existing the same command goes on" in err
  left = list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else []
  assert left == []


def test_evaluating_on_a_full_disk_keeps_what_was_there(tmp_path, pairs, command, monkeypatch):
  arguments = [*pairs, f"--fused=mine:{tmp_path / 'fused'}", "--metrics=EN"]
  shutil.copytree(tmp_path / "visible", tmp_path / "fused")
  arguments += [f"--output={tmp_path / 'scores'}"]
  assert command("evaluate", *arguments)[0] == 0
  before = {path: path.read_bytes() for path in (tmp_path / "scores").iterdir()}
  monkeypatch.setattr(files.os, "replace", full)
  status, err = command("evaluate", *arguments)
  assert status == 2 and is_one_line(err[err.index("error: ") :], "scores.csv", "No space left")
  assert before == {path: path.read_bytes() for path in (tmp_path / "scores").iterdir()}


CONFIGS = {
  "a name that is not there": ("x = y\n", "NameError: name 'y' is not defined (line 1)"),
  "no Python": ("get_config = (\n", "SyntaxError"),
  "wrong bytes": (b"\xff\xfe\x00", "SyntaxError"),
  "null bytes": (b"get_config = 1\x00", "null bytes"),
  "an exception": ("def get_config():\n  return {}['a']\n", "KeyError: 'a' (line 2)"),
  "an exit": ("raise SystemExit(3)\n", "SystemExit: 3 (line 1)"),
  "nothing returned": ("def get_config():\n  pass\n", "returns a NoneType; it must return"),
  "a dict returned": ("def get_config():\n  return {}\n", "returns a dict; it must return"),
  "no function": ("get_config = 3\n", "defines no get_config()"),
  "an import": ("import nothing_of_that_name\n", "ModuleNotFoundError"),
  "arguments": ("def get_config(a, b):\n  pass\n", "TypeError: get_config() missing"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_file_that_fails_is_named_in_one_line(tmp_path, command, case):
  content, text = CONFIGS[case]
  path = tmp_path / "config.py"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  status, err = command("main", f"--config={path}", f"--workdir={tmp_path / 'run'}")
  assert status == 2 and is_one_line(err, f"--config={path}", text), err
  with pytest.raises(InputError):
    config_lib.load(str(path))


def raising(error):
  def main(given):
    raise error

  return main


@pytest.mark.parametrize(
  ("error", "status", "text"),
  [
    (KeyboardInterrupt(), 130, "interrupted"),
    (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "error: a: Permission denied"),
    (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device"),
    (StorageError("the disk"), 2, "error: the disk"),
    (
      RuntimeError("Unable to initialize backend 'tpu': no\n such thing"), 2,
      "error: JAX_PLATFORMS=tpu: Unable to initialize backend 'tpu': no such thing; without "
      "JAX_PLATFORMS JAX takes what is here",
    ),
  ],
)  # fmt: skip
def test_accidents_end_in_one_line(error, status, text, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "tpu")
  assert cli.status(raising(error), {}, "", []) == status
  assert capsys.readouterr().err == text + "\n"


@pytest.mark.parametrize(
  "error", [FileNotFoundError(2, "No such file", "a"), RuntimeError("x"), AssertionError("y")]
)
def test_errors_of_the_program_are_not_hidden(error):
  with pytest.raises(type(error)):
    cli.status(raising(error), {}, "", [])


def test_jax_without_a_word_about_cuda_is_understood(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  code = compile("def backends():\n  assert False\n", str(tmp_path / "xla_bridge.py"), "exec")
  members = {}
  exec(code, members)
  assert cli.status(lambda given: members["backends"](), {}, "", []) == 2
  assert capsys.readouterr().err == (
    "error: JAX_PLATFORMS=cuda: there is no such device, or JAX has no plugin for it; without "
    "JAX_PLATFORMS JAX takes what is here\n"
  )


def test_a_fraction_that_holds_out_everything_says_the_way_out(tmp_path):
  write_pairs(tmp_path)
  for folder in ("visible", "infrared"):
    for name in "bc":
      (tmp_path / folder / f"{name}.png").unlink()
  values = {"name": "folder", "root": str(tmp_path), "visible": "visible", "infrared": "infrared"}
  values |= naming.OPTIONS
  with pytest.raises(
    InputError, match="would hold out all 1 groups.*validation_fraction=0.0 holds"
  ):
    datasets.load(values | {"validation_fraction": 0.1}).source("train")
  assert len(datasets.load(values | {"validation_fraction": 0.0}).source("train")) == 1
