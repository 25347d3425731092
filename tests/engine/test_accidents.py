"""Accidents of a run under way: signals, a full disk, damaged files; it ends as an undisturbed one.

Each row of the table in docs/accidents.md that is about training is a test here or beside the part
that it is about.
"""

import errno
import os
import re
import shutil
import signal

import numpy as np
import pytest
import toys
from command_line import ROOT

from cfi_jax import main
from cfi_jax.core import cli, files, interruption
from cfi_jax.engine import programs
from cfi_jax.engine.cluster.preemption import Preemption
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.damage import DAMAGED

toys.install()
CLOCK = logs.CLOCK


@pytest.fixture(autouse=True)
def heard():
  """Signals as in a terminal: a process started in the background, or by nohup, ignores some."""
  before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGHUP)}
  signal.signal(signal.SIGINT, signal.default_int_handler)
  signal.signal(signal.SIGHUP, signal.SIG_DFL)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


class Command:
  """The training command on a toy, in this process."""

  def __init__(self, pairs, capsys):
    self.pairs, self.capsys = pairs, capsys

  def __call__(self, workdir, *overrides):
    """Exit status and what was printed on both streams."""
    values = (
      "steps=8",
      "checkpoint.every=2",
      "checkpoint.keep=3",
      "validate_every=4",
      f"data.root={self.pairs}",
    )
    status = cli.status(
      main.main,
      main.FLAGS,
      main.__doc__,
      [f"--config={ROOT / 'tests' / 'toys' / 'tiny.py'}:one", f"--workdir={workdir}"]
      + [f"--config.{value}" for value in (*values, *overrides)],
    )
    printed = self.capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture(scope="module")
def whole(write_pairs, tmp_path_factory):
  """A folder with pairs, and the workdir `run` of an undisturbed run of eight steps."""
  root = tmp_path_factory.mktemp("accidents")
  write_pairs(root / "pairs", 8)
  command = Command(root / "pairs", type("Silent", (), {"readouterr": lambda self: SILENT})())
  assert command(root / "run")[0] == 0
  return root


SILENT = type("Printed", (), {"out": "", "err": ""})


@pytest.fixture
def command(whole, capsys):
  return Command(whole / "pairs", capsys)


@pytest.fixture
def ends_as_the_whole(whole, command, checkpoint_leaves):
  """Asserts that a workdir goes on to what the undisturbed run has: checkpoint, log, pictures."""

  def check(workdir):
    status, out, err = command(workdir)
    assert status == 0, err
    ours, theirs = (checkpoint_leaves(path, 8) for path in (workdir, whole / "run"))
    for name, leaf in theirs.items():
      np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
    rows = [logs.read_metrics(path / logs.METRICS_FILE) for path in (workdir, whole / "run")]
    for row in (*rows[0], *rows[1]):
      for name in CLOCK:
        row.pop(name, None)
    assert rows[0] == rows[1]
    for picture in (whole / "run" / logs.PICTURES).iterdir():
      assert (workdir / logs.PICTURES / picture.name).read_bytes() == picture.read_bytes()
    return out

  return check


def at_step(monkeypatch, step, act):
  """Acts when the row of a training step is written."""
  write = logs.Logs.write

  def write_and_act(self, kind, number, values):
    write(self, kind, number, values)
    if kind == "train" and number == step:
      act()

  monkeypatch.setattr(logs.Logs, "write", write_and_act)


def test_signals_save_and_the_run_ends_as_an_undisturbed_one(
  tmp_path, command, monkeypatch, ends_as_the_whole
):
  handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
  for step, name in ((1, "SIGINT"), (3, "SIGTERM"), (5, "SIGHUP")):
    at_step(monkeypatch, step, lambda name=name: os.kill(os.getpid(), getattr(signal, name)))
    status, out, _ = command(tmp_path / "run")
    assert status == 0 and "Traceback" not in out
    assert f"{name}: saved after step {step + 1} of 8; the same command goes on from there" in out
    assert (tmp_path / "run" / FOLDER / str(step + 1)).is_dir()
    monkeypatch.undo()
  assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
  assert "going on after step 6" in ends_as_the_whole(tmp_path / "run")


def test_a_second_ctrl_c_stops_at_once(tmp_path, command, monkeypatch, ends_as_the_whole):
  def twice():
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)

  at_step(monkeypatch, 3, twice)
  status, _, err = command(tmp_path / "run")
  assert status == 130 and err.endswith("interrupted\n") and "Traceback" not in err
  assert not (tmp_path / "run" / FOLDER / "3").exists()
  monkeypatch.undo()
  assert "going on after step 2" in ends_as_the_whole(tmp_path / "run")


def test_ctrl_c_before_the_first_step_stops_at_once(tmp_path, command, monkeypatch):
  monkeypatch.setattr(
    programs, "compile_train_step", lambda run: os.kill(os.getpid(), signal.SIGINT)
  )
  status, _, err = command(tmp_path / "run")
  assert status == 130 and err == "interrupted\n"
  assert not (tmp_path / "run").exists()


def test_a_ctrl_c_that_python_dropped_before_the_first_step_is_not_lost():
  with Preemption() as preemption:
    with pytest.raises(KeyboardInterrupt):  # such as in a callback of the garbage collector
      os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      preemption.begin()
  with Preemption() as preemption:
    os.kill(os.getpid(), signal.SIGTERM)  # which waits for the first step
    preemption.begin()
    assert preemption.asked_by == "SIGTERM"


@pytest.mark.parametrize("begun", [False, True])
def test_one_more_ctrl_c_than_stops_at_once_puts_nothing_away(monkeypatch, begun):
  left = []
  monkeypatch.setattr(interruption, "exit_at_once", lambda: left.append(True))
  with Preemption() as preemption:
    if begun:
      preemption.begin()
      os.kill(os.getpid(), signal.SIGINT)
    for expected in ([], [True]):
      with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
      assert left == expected


def test_signals_that_are_ignored_stay_ignored():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup starts a command
  try:
    with Preemption() as preemption:
      os.kill(os.getpid(), signal.SIGHUP)
      assert preemption.asked_by == ""
      assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, before)


def full(*arguments, **named):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_rows(monkeypatch):
  monkeypatch.setattr(logs.Logs, "write", full)


def fill_events(monkeypatch):
  monkeypatch.setattr(logs.Events, "add", full)


def fill_pictures(monkeypatch):
  monkeypatch.setattr(logs.Logs, "picture", full)


def fill_files(monkeypatch):
  monkeypatch.setattr(files.os, "replace", full)


def fill_checkpoints(monkeypatch):
  save = Checkpoints.save

  def save_without_room(self, *arguments):
    monkeypatch.setattr(self._manager, "wait_until_finished", full)
    monkeypatch.setattr(self._manager, "save", full)
    save(self, *arguments)

  monkeypatch.setattr(Checkpoints, "save", save_without_room)


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(
  tmp_path, command, monkeypatch, ends_as_the_whole
):
  workdir = tmp_path / "run"
  for fill in (fill_files, fill_rows, fill_events, fill_checkpoints, fill_pictures):
    fill(monkeypatch)
    status, _, err = command(workdir)
    assert status == 2 and err.count("error: ") == 1, (fill.__name__, err)
    assert len(err[err.index("error: ") :].splitlines()) == 1
    assert str(workdir) in err and "No space left on device" in err
    if fill is not fill_files:  # which meets the record, before the first step
      assert "what was saved before is whole, and the same command goes on from there" in err
    monkeypatch.undo()
    assert not [path for path in workdir.rglob("*") if path.name.endswith(".tmp")]
  assert "going on after step 2" in ends_as_the_whole(workdir)


def test_a_damaged_newest_checkpoint_costs_the_steps_since_the_one_before(
  whole, tmp_path, ends_as_the_whole
):
  workdir = tmp_path / "run"
  shutil.copytree(whole / "run", workdir)
  (path,) = (workdir / FOLDER / "8" / "default" / "d").iterdir()
  path.write_bytes(path.read_bytes()[:100])
  (workdir / FOLDER / "4" / "metrics" / "metrics").write_text("")
  out = ends_as_the_whole(workdir)
  assert re.search(
    rf"{workdir / FOLDER / '8'} is damaged \(.*\); moved to {workdir / DAMAGED}", out
  )
  assert f"{workdir / FOLDER / '4' / 'metrics' / 'metrics'} is damaged" in out
  assert "going on after step 6" in out and (workdir / DAMAGED / "8").is_dir()


@pytest.mark.parametrize("name", [FOLDER, logs.METRICS_FILE, logs.TENSORBOARD, DAMAGED])
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_named(whole, tmp_path, command, name):
  workdir = tmp_path / "run"
  shutil.copytree(whole / "run", workdir)
  shutil.rmtree(workdir / FOLDER / "8")
  (workdir / FOLDER / "6" / record.METADATA).write_text("")
  path = workdir / name
  if path.is_dir():
    shutil.rmtree(path)
  if name == logs.METRICS_FILE:
    path.unlink()
    path.mkdir()
  else:
    path.write_text("")
  status, _, err = command(workdir)
  assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and str(path) in err


def test_lost_and_damaged_records_and_logs_are_repaired(whole, tmp_path, ends_as_the_whole):
  workdir = tmp_path / "run"
  shutil.copytree(whole / "run", workdir)
  shutil.rmtree(workdir / FOLDER / "8")
  (workdir / record.FILE).unlink()
  (workdir / record.IMAGES).write_text("{")
  path = workdir / logs.METRICS_FILE
  path.write_bytes(path.read_bytes()[:-20] + b"\n\xff\n")
  out = ends_as_the_whole(workdir)
  assert f"{workdir / record.FILE} is missing; made again of {workdir / FOLDER / '6'}" in out
  assert f"{path}: 2 damaged lines are left out" in out
  assert set(record.read(workdir)["config"]) == set(record.read(whole / "run")["config"])
  images = {(path / record.IMAGES).read_text() for path in (workdir, whole / "run")}
  assert len(images) == 1
