"""Requests to Orbax, by which process, and what is made of its errors; it writes nothing."""

import errno
import pathlib
import sys
import types

import jax
import numpy as np
import pytest

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.engine import sharding
from cfi_jax.engine.workdir import checkpoint, damage
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.engine.workdir.damage import DamagedError
from cfi_jax.engine.workdir.manager import CheckpointOptions

OPTIONS = CheckpointOptions(every=1, keep=2, best="loss", direction="lower")


@pytest.fixture
def opened(tmp_path, monkeypatch):
  """A function that opens checkpoints whose manager is not Orbax's: it notes what is saved."""

  def call(close=lambda: None, **options):
    saved = []
    manager = types.SimpleNamespace(
      all_steps=lambda: [1], close=close, save=lambda step, **more: saved.append((step, more))
    )
    monkeypatch.setattr(checkpoint, "open_manager", lambda *given, **more: manager)
    return Checkpoints(tmp_path, OPTIONS, **options), saved

  return call


@pytest.mark.parametrize(
  ("alone", "process", "saves"), [(True, 0, True), (True, 1, False), (False, 1, True)]
)
def test_of_folders_of_their_own_process_0_saves(opened, monkeypatch, alone, process, saves):
  monkeypatch.setattr(jax, "process_index", lambda: process)
  checkpoints, saved = opened(alone=alone, about={"run": {"seed": 1}})
  with checkpoints:
    checkpoints.save({"a": np.ones(2, np.float32)}, 1, None)  # which is there
    checkpoints.save({"a": np.ones(2, np.float32)}, 2, {"loss": 0.5, "SSIM": 0.1})
  assert [step for step, _ in saved] == [2] * saves
  for _, given in saved:
    about = given["custom_metadata"]
    assert given["metrics"] == {"loss": 0.5, "SSIM": 0.1} and given["force"] is True
    assert about["run"] == {"seed": 1} and about["leaves"]["a"][0] == "float32[2]"


def test_an_accident_at_the_end_is_told_unless_another_error_came_first(opened):
  def full():
    raise OSError(errno.ENOSPC, "full")

  hooks = sys.excepthook, sys.unraisablehook
  with pytest.raises(StorageError, match="a checkpoint cannot be written"), opened(full)[0]:
    pass
  with pytest.raises(KeyError), opened(full)[0]:
    raise KeyError
  assert (sys.excepthook, sys.unraisablehook) == hooks


def test_errors_are_reported_as_before_where_nothing_can_be_opened(tmp_path, monkeypatch):
  def refuse(*given, **more):
    raise ValueError("no")

  monkeypatch.setattr(checkpoint, "open_manager", refuse)
  hooks = sys.excepthook, sys.unraisablehook
  with pytest.raises(DamagedError, match="cannot be opened .ValueError: no"):
    Checkpoints(tmp_path, OPTIONS)
  assert (sys.excepthook, sys.unraisablehook) == hooks


def test_all_that_does_not_fit_is_named_in_order():
  own = types.SimpleNamespace(_folder=pathlib.Path("folder"))
  leaf, shorter = np.ones(3, np.float32), np.ones(2, np.float32)
  wanted = {"d": leaf, "c": leaf, "x": leaf, "same": leaf, "w": leaf}
  stored = {name: ("float32[3]", "") for name in ("b", "a", "same")}
  stored |= {name: (checkpoint._describe(shorter), "") for name in ("x", "w")}
  with pytest.raises(InputError) as error:
    Checkpoints._check_leaves(own, 3, wanted, stored)
  different = "; ".join(f"{name} is float32[2], not float32[3]" for name in "wx")
  assert str(error.value) == (
    "folder/3 does not fit this run's state: missing c; missing d; extra a; extra b; " + different
  )


@pytest.mark.parametrize(
  ("process", "alone", "moves"), [(0, False, True), (1, False, False), (1, True, True)]
)
def test_processes_wait_until_what_is_damaged_was_moved(monkeypatch, process, alone, moves):
  done = []

  def restore(template, mesh, step):
    if step > 1:
      raise DamagedError(f"{step} is damaged")
    return "state"

  own = types.SimpleNamespace(
    steps=(1, 2, 3),
    restore=restore,
    _alone=alone,
    _folder=pathlib.Path("folder"),
    _manager=types.SimpleNamespace(reload=lambda: done.append("reload")),
  )
  monkeypatch.setattr(jax, "process_index", lambda: process)
  monkeypatch.setattr(damage, "set_aside", lambda path: done.append(str(path)))
  monkeypatch.setattr(sharding, "wait_for_processes", done.append)
  found = Checkpoints.restore_newest(own, "template", "mesh")
  assert found == (1, "state", ["3 is damaged", "2 is damaged"])
  assert done == ["folder/2", "folder/3"] * moves + ["set aside", "reload"]
