"""Runs that are killed, told to stop, or moved to other devices end as undisturbed ones do."""

import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from command_line import ROOT, free_port, last_step, wait_for
from command_line import run as run_command
from full import FULL

from cfi_jax.engine.workdir import logs

SPEED = logs.CLOCK


def rows(workdir):
  """The log without what depends on the clock."""
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return [{k: v for k, v in row.items() if k not in SPEED} for row in read]


def is_saving(workdir):
  folder = workdir / "checkpoints"
  names = [entry.name for entry in os.scandir(folder)] if folder.exists() else []
  return any("tmp" in name for name in names)


def test_killed_and_stopped_runs_end_as_the_undisturbed_one(tmp_path, trainer, checkpoint_leaves):
  settings = ("steps=30", "checkpoint.every=5", "validate_every=10", "log_every=3")
  settings += ("validation_metrics=()", "optim.ema_decay=0.9")
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  status, output = trainer.run(whole, *settings)
  assert status == 0, output

  # Inside a save: tried again until it was. tests/systems/test_contract.py kills between saves.
  starts = 0
  while not is_saving(broken):
    process, starts = trainer.start(broken, *settings), starts + 1
    start = last_step(broken)
    wait_for(process, lambda: last_step(broken) > start and is_saving(broken))  # noqa: B023
    process.send_signal(signal.SIGKILL)
    assert process.finish()[0] == -signal.SIGKILL

  process = trainer.start(broken, *settings)
  start = last_step(broken)
  wait_for(process, lambda: last_step(broken) > start)
  process.send_signal(signal.SIGTERM)
  status, output, errors = process.finish(120)
  assert status == 0, errors
  assert "SIGTERM: saved after step" in output and "the same command goes on" in output
  saved = int(output.split("saved after step ")[1].split()[0])
  assert (broken / "checkpoints" / str(saved)).exists()

  status, output = trainer.run(broken, *settings)
  assert status == 0, output
  assert f"going on after step {saved}" in output
  ours, theirs = checkpoint_leaves(broken, 30), checkpoint_leaves(whole, 30)
  assert ours.keys() == theirs.keys()
  for name, leaf in theirs.items():
    assert ours[name].dtype == leaf.dtype
    np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
  assert rows(broken) == rows(whole)
  for picture in (whole / logs.PICTURES).iterdir():
    assert (broken / logs.PICTURES / picture.name).read_bytes() == picture.read_bytes()

  record = json.loads((broken / "run.json").read_text())
  assert len(record["starts"]) == starts + 2


def has_no_gradient(name):
  """Biases that a BatchNorm's mean or a softmax cancels: Adam makes steps of rounding noise."""
  return re.fullmatch(r"(params|ema_params|opt_state)/.*(conv\d|key_\w+)/bias", name) is not None


def compare(ours, theirs, names):
  for name in names:
    # Second moments of Adam can be large: the tolerance is that of the tensor's greatest value.
    atol = 1e-10 * max(1.0, np.abs(theirs[name]).max())
    np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=atol, err_msg=name)


@pytest.fixture
def double(trainer):
  """Runs five float64 steps of a batch of 8 on simulated devices of one or several processes."""

  def run(workdir, devices, processes=1):
    settings = ("model.dtype=float64", "model.param_dtype=float64", "batch_size=8", "steps=5")
    settings += ("data.validation_fraction=0",)  # nothing to validate on: one program less
    settings += ("loss.necessity.views=('without_visible',)", "input.device_gb=1")
    settings += ("statistics.normalise=original", "statistics.views=original")
    settings += ("optim.ema_decay=0.9",)
    _, _, _, *flags = trainer.command(workdir, *settings, "checkpoint.every=1", "checkpoint.keep=5")
    xla = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    env = {"JAX_ENABLE_X64": "1", "XLA_FLAGS": xla}
    if processes == 1:
      result = run_command("cfi_jax.main", *flags, **env)
    else:
      launcher = [ROOT / "launch" / "local.sh", str(processes), *flags]
      env = os.environ | env | {"PORT": free_port()}
      result = subprocess.run(launcher, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

  return run


def test_devices_and_processes_take_the_same_steps_and_restore_each_other(
  tmp_path, double, checkpoint_leaves
):
  """Two processes of four devices from one device's step.

  With CFI_JAX_FULL=1 such from the start, eight devices from one's step, and one from eight's.
  """

  def read(name, step):
    return checkpoint_leaves(tmp_path / name, step)

  def go_on(name, first, step, devices, processes=1):
    shutil.copytree(tmp_path / first, tmp_path / name)
    for later in range(step + 1, 6):
      shutil.rmtree(tmp_path / name / "checkpoints" / str(later))
    double(tmp_path / name, devices, processes)

  double(tmp_path / "1", 1)
  go_on("1 to 2x4", "1", 1, devices=4, processes=2)
  runs = ["1 to 2x4"]
  if FULL:
    double(tmp_path / "2x4", 4, processes=2)
    go_on("1 to 8", "1", 1, devices=8)
    go_on("8 to 1", "1 to 8", 3, devices=1)
    runs += ["2x4", "1 to 8", "8 to 1"]

  names = [name for name in read("1", 1) if not has_no_gradient(name)]
  # With one encoder, one level and the paper's gate 3 biases of convolutions and 2 of keys have no
  # gradient, nor have Adam's two moments and the moving average of them.
  assert len(read("1", 1)) - len(names) == 4 * (3 + 2)
  if FULL:
    compare(read("2x4", 1), read("1", 1), names)
  for name in [name for name in runs if name.startswith("1 to ")]:
    compare(read(name, 2), read("1", 2), names)
  # Later the running means follow the biases that have no gradient.
  names = [name for name in names if not name.endswith("/mean")]
  for name in runs:
    compare(read(name, 5), read("1", 5), names)
