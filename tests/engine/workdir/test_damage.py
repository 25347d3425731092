"""Damaged checkpoints out of the way, without Orbax; test_checkpoint.py damages real ones."""

import sys

import pytest

from cfi_jax.engine.workdir import damage
from cfi_jax.engine.workdir.checkpoint import FOLDER
from cfi_jax.engine.workdir.damage import DAMAGED, set_aside_unreadable
from cfi_jax.engine.workdir.manager import CheckpointOptions

OPTIONS = CheckpointOptions(every=1, keep=2, best="loss", direction="lower")


def test_what_is_set_aside_again_has_another_name(tmp_path):
  for name in ("3", "3.1", "3.2"):
    (tmp_path / FOLDER / "3").mkdir(parents=True)
    damage.set_aside(tmp_path / FOLDER / "3")
    assert (tmp_path / DAMAGED / name).is_dir()


@pytest.mark.parametrize(("steps", "looks"), [((), 0), ((1, 2), 1)])
def test_checkpoints_that_open_together_are_not_opened_one_by_one(
  tmp_path, monkeypatch, steps, looks
):
  opened = []
  monkeypatch.setattr(damage, "why_closed", lambda folder, options: opened.append(folder))
  for step in steps:
    (tmp_path / FOLDER / str(step)).mkdir(parents=True)
  assert set_aside_unreadable(tmp_path, OPTIONS) == []
  assert opened == [tmp_path / FOLDER] * looks


def test_looking_whether_a_folder_opens_changes_nothing(tmp_path, monkeypatch):
  def refuse(folder, options, **more):
    assert (folder, options, more) == (tmp_path, OPTIONS, {"read_only": True, "alone": True})
    raise ValueError("no")

  monkeypatch.setattr(damage, "open_manager", refuse)
  hooks = sys.excepthook, sys.unraisablehook
  assert damage.why_closed(tmp_path, OPTIONS) == "ValueError: no"
  assert (sys.excepthook, sys.unraisablehook) == hooks
