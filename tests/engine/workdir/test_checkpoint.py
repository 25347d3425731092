"""Checkpoints: what is kept, strict restoring, and other numbers of devices."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging as logging_absl

from cfi_jax.core.types import InputError, StorageError
from cfi_jax.engine import sharding
from cfi_jax.engine.state import TrainState
from cfi_jax.engine.workdir import checkpoint, record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.engine.workdir.damage import DAMAGED, METRICS, DamagedError, set_aside_unreadable
from cfi_jax.engine.workdir.manager import CheckpointOptions

OPTIONS = CheckpointOptions(every=1, keep=2, best="loss", direction="lower")


def make_state(value=0.0, width=2):
  def full(*shape):
    return jnp.full(shape, value, jnp.float32)

  params = {"layer": {"kernel": full(3, width), "bias": full(width)}}
  return TrainState(
    step=jnp.asarray(3, jnp.int32),
    params=params,
    batch_stats={"norm": {"mean": full(width)}},
    opt_state=optax.adam(1e-3).init(params),
    ema_params=jax.tree.map(lambda x: x / 2, params),
  )


@pytest.fixture
def mesh():
  return sharding.make_mesh(1)


def test_keeps_the_last_and_the_best(tmp_path, mesh):
  losses = {1: 0.5, 2: 0.1, 3: None, 4: 0.3, 5: 0.2, 6: None}
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    for step, loss in losses.items():
      checkpoints.save(make_state(step), step, None if loss is None else {"loss": loss})
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    assert checkpoints.steps == (2, 5, 6)
    for step in (2, 6):
      restored = checkpoints.restore(make_state(), mesh, step)
      assert type(restored.opt_state) is type(make_state().opt_state)
      jax.tree.map(np.testing.assert_array_equal, restored, make_state(step))
    last = checkpoints.restore(make_state(), mesh)
    np.testing.assert_array_equal(last.params["layer"]["bias"], 6)


@pytest.mark.parametrize(("direction", "best"), [("lower", 1), ("higher", 3)])
def test_the_best_is_kept_after_reopening(tmp_path, direction, best):
  options = CheckpointOptions(every=1, keep=2, best="SSIM", direction=direction)
  for step, value in ((1, 0.1), (2, 0.2), (3, 0.9), (4, 0.2), (5, 0.4), (6, None)):
    with Checkpoints(tmp_path, options) as checkpoints:
      metrics = {"loss": 0.5} | ({} if value is None else {"SSIM": value})
      checkpoints.save(make_state(step), step, metrics)
      checkpoints.wait()
  with Checkpoints(tmp_path, options) as checkpoints:
    assert checkpoints.steps == (best, 5, 6)


def test_the_best_is_named(tmp_path):
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    assert checkpoints.best is None
    for step, loss in ((1, None), (2, 0.1), (3, 0.2)):
      checkpoints.save(make_state(step), step, None if loss is None else {"loss": loss})
      checkpoints.wait()
      assert checkpoints.best == (None if step == 1 else 2)


def test_reading_only_changes_nothing(tmp_path, mesh):
  with pytest.raises(InputError, match="no such folder"):
    Checkpoints(tmp_path, OPTIONS, read_only=True)
  losses = {1: 0.1, 2: None, 3: 0.2}
  with Checkpoints(tmp_path, dataclasses.replace(OPTIONS, keep=3)) as checkpoints:
    for step, loss in losses.items():
      checkpoints.save(make_state(step), step, None if loss is None else {"loss": loss})
  (tmp_path / FOLDER / "4.orbax-checkpoint-tmp").mkdir()  # a run is writing it
  before = sorted(tmp_path.rglob("*"))
  options = dataclasses.replace(OPTIONS, keep=1)
  with Checkpoints(tmp_path, options, read_only=True) as checkpoints:
    assert checkpoints.steps == (1, 2, 3) and checkpoints.best == 1
    restored = checkpoints.restore(make_state(), mesh, 2)
    jax.tree.map(np.testing.assert_array_equal, restored, make_state(2))
    with pytest.raises(ValueError, match="reading only"):
      checkpoints.save(make_state(5), 5, None)
  assert sorted(tmp_path.rglob("*")) == before


def test_a_step_is_written_once(tmp_path, mesh):
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    checkpoints.save(make_state(1), 1, None)
    checkpoints.save(make_state(2), 1, None)
    checkpoints.wait()
    assert checkpoints.restore(make_state(), mesh, 1).params["layer"]["bias"][0] == 1


@pytest.mark.parametrize(
  ("change", "messages"),
  [
    (lambda s: s.replace(params=s.params | {"new": jnp.ones(1)}), ["missing params/new"]),
    (lambda s: s.replace(batch_stats={}), ["extra batch_stats/norm/mean"]),
    (lambda s: make_state(width=4), ["params/layer/kernel is float32[3, 2], not float32[3, 4]"]),
    (
      lambda s: s.replace(params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), s.params)),
      ["params/layer/bias is float32[2], not bfloat16[2]", "params/layer/kernel"],
    ),
  ],
)
def test_restore_names_every_leaf_that_does_not_fit(tmp_path, mesh, change, messages):
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    checkpoints.save(make_state(), 1, None)
    checkpoints.wait()
    with pytest.raises(InputError) as error:
      checkpoints.restore(change(make_state()), mesh)
  for message in messages:
    assert message in str(error.value)


def test_remains_of_an_interrupted_save_are_ignored_and_removed(tmp_path):
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    checkpoints.save(make_state(), 1, None)
  remains = tmp_path / FOLDER / "2.orbax-checkpoint-tmp"
  remains.mkdir()
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    assert checkpoints.steps == (1,)
    checkpoints.save(make_state(), 3, None)  # that step itself may never be saved again
    checkpoints.wait()
    assert checkpoints.steps == (1, 3)
  assert not remains.exists()


def test_unknown_step_and_bad_options(tmp_path, mesh):
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    checkpoints.save(make_state(), 1, None)
    checkpoints.wait()
    with pytest.raises(InputError, match=r"no checkpoint of step 7; there are: \(1,\)"):
      checkpoints.restore(make_state(), mesh, 7)
  with pytest.raises(InputError, match="checkpoint.keep is 0"):
    dataclasses.replace(OPTIONS, keep=0)
  with pytest.raises(InputError, match="'up'; valid: lower, higher"):
    dataclasses.replace(OPTIONS, direction="up")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
  """A workdir with checkpoints of steps 1, 2 and 3, of which 1 and 2 are ranked."""
  path = tmp_path_factory.mktemp("three")
  options = dataclasses.replace(OPTIONS, keep=3)
  with Checkpoints(path, options, about={"run": {"config": {}}}) as checkpoints:
    for step, loss in ((1, 0.1), (2, 0.2), (3, None)):
      checkpoints.save(make_state(step), step, None if loss is None else {"loss": loss})
  return path


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def blank(path):
  path.write_bytes(bytes(path.stat().st_size))


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0x10
  path.write_bytes(content)


def rename_a_leaf(path):
  path.write_bytes(path.read_bytes().replace(b"bias", b"bios"))


HOW = (truncate, blank, flip, pathlib.Path.unlink)
WHERE = (record.METADATA, "default/_METADATA", "default/manifest.ocdbt", "default/d/*")
DAMAGES = [(where, how) for where in WHERE for how in HOW]
DAMAGES += [(record.METADATA, lambda path: path.write_text("{}"))]
DAMAGES += [(record.METADATA, rename_a_leaf), ("default/_METADATA", rename_a_leaf)]


@pytest.mark.parametrize(("where", "how"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
  three, tmp_path, mesh, where, how
):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  for step in (2, 3):
    (path,) = (workdir / FOLDER / str(step)).glob(where)
    how(path)
  with Checkpoints(workdir, OPTIONS) as checkpoints:
    with pytest.raises(DamagedError, match=rf"{workdir / FOLDER / '3'} is damaged \("):
      checkpoints.restore(make_state(), mesh)
    step, state, lines = checkpoints.restore_newest(make_state(), mesh)
    assert step == 1 and checkpoints.steps == (1,) and len(lines) == 2
    jax.tree.map(np.testing.assert_array_equal, state, make_state(1))
    for line, number in zip(lines, "32", strict=True):
      assert f"{workdir / FOLDER / number} is damaged (" in line and "\n" not in line
      assert (workdir / DAMAGED / number).is_dir()
    checkpoints.save(make_state(5), 3, None)  # its place is free again
  with Checkpoints(workdir, OPTIONS) as checkpoints:
    step, state, lines = checkpoints.restore_newest(make_state(), mesh)
    assert step == 3 and lines == []
    jax.tree.map(np.testing.assert_array_equal, state, make_state(5))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"commit_timestamp_nsecs": 1e300}'])
def test_metadata_that_let_nothing_be_opened_are_set_aside(three, tmp_path, mesh, content):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  for step in (2, 3):
    (workdir / FOLDER / str(step) / record.METADATA).write_text(content)
  lines = set_aside_unreadable(workdir, OPTIONS)
  assert len(lines) == 2
  for step, line in zip("23", lines, strict=True):
    assert f"{workdir / FOLDER / step} is damaged (" in line
  with Checkpoints(workdir, OPTIONS) as checkpoints:
    assert checkpoints.restore_newest(make_state(), mesh)[0] == 1
  (workdir / FOLDER / "1" / record.METADATA).write_text(content)
  assert set_aside_unreadable(workdir, OPTIONS) == []
  with pytest.raises(DamagedError, match="checkpoints cannot be opened"):
    Checkpoints(workdir, OPTIONS)


def test_other_values_than_were_saved_are_damage(three, tmp_path, mesh):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  path, other = (workdir / FOLDER / step / record.METADATA for step in "32")
  about, before = (json.loads(p.read_text())["custom_metadata"] for p in (path, other))
  leaf = "params/layer/kernel"
  about["leaves"][leaf] = before["leaves"][leaf]
  path.write_text(json.dumps({**json.loads(path.read_text()), "custom_metadata": about}))
  with (
    Checkpoints(workdir, OPTIONS) as checkpoints,
    pytest.raises(DamagedError, match="other values than were saved in params/layer/kernel"),
  ):
    checkpoints.restore(make_state(), mesh)


def test_where_none_is_whole_all_are_named_and_none_is_moved(three, tmp_path, mesh):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  for path in (workdir / FOLDER).glob("*/default/manifest.ocdbt"):
    path.unlink()
  with Checkpoints(workdir, OPTIONS) as checkpoints:
    with pytest.raises(DamagedError, match="no checkpoint is whole: .*/3 .*/2 .*/1 .*begins anew"):
      checkpoints.restore_newest(make_state(), mesh)
    assert checkpoints.steps == (1, 2, 3)


def test_what_does_not_fit_is_no_damage(three, mesh):
  with (
    Checkpoints(three, OPTIONS, read_only=True) as checkpoints,
    pytest.raises(InputError, match="does not fit this run's state") as error,
  ):
    checkpoints.restore_newest(make_state(width=4), mesh)
  assert not isinstance(error.value, DamagedError)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", '{"lozs": 0.1}', '{"loss": "a"}', "\xff"])
def test_damaged_rankings_are_set_aside(three, tmp_path, content):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  (workdir / FOLDER / "1" / METRICS).write_bytes(content.encode("latin-1"))
  with pytest.raises(DamagedError, match=r"1/metrics/metrics is damaged \("):
    Checkpoints(workdir, OPTIONS, read_only=True)
  (line,) = set_aside_unreadable(workdir, OPTIONS)
  assert "1/metrics/metrics is damaged" in line and (workdir / DAMAGED / "1-metrics").is_dir()
  assert set_aside_unreadable(workdir, OPTIONS) == []
  with Checkpoints(workdir, OPTIONS) as checkpoints:
    assert checkpoints.best == 2 and checkpoints.steps == (1, 2, 3)


def test_a_full_disk_is_named_and_what_was_saved_stays(tmp_path, mesh, monkeypatch, capfd):
  def full(*arguments, **named):
    raise ValueError("RESOURCE_EXHAUSTED: ...: No space left on device [os_error_code='28']")

  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    checkpoints.save(make_state(1), 1, None)
    checkpoints.wait()
    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(StorageError) as error:
      checkpoints.save(make_state(2), 2, None)
    monkeypatch.undo()
  folder = tmp_path / FOLDER
  assert str(error.value) == f"a checkpoint cannot be written: {folder}: No space left on device"
  with Checkpoints(tmp_path, OPTIONS) as checkpoints:
    assert checkpoints.steps == (1,)


@pytest.mark.parametrize("error", [InputError("no room"), KeyboardInterrupt()])
def test_what_is_no_damage_is_not_told_as_damage(tmp_path, monkeypatch, error):
  def refuse(*given, **options):
    raise error

  monkeypatch.setattr(checkpoint, "open_manager", refuse)
  filters = logging_absl.get_absl_logger().filters.copy()
  with pytest.raises(type(error)) as found:
    Checkpoints(tmp_path, OPTIONS)
  assert found.value is error and logging_absl.get_absl_logger().filters == filters


def test_a_checkpoint_of_an_older_version_has_no_checksums(three, tmp_path, mesh):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  path = workdir / FOLDER / "3" / record.METADATA
  about = json.loads(path.read_text())
  del about["custom_metadata"]["leaves"]
  path.write_text(json.dumps(about))
  with Checkpoints(workdir, OPTIONS, read_only=True) as checkpoints:
    jax.tree.map(
      np.testing.assert_array_equal, checkpoints.restore(make_state(), mesh), make_state(3)
    )


def test_of_several_damaged_rankings_the_first_is_named(three, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(three, workdir)
  for step in (1, 2):
    (workdir / FOLDER / str(step) / METRICS).write_text("")
  with pytest.raises(DamagedError, match=r"/1/metrics/metrics is damaged"):
    Checkpoints(workdir, OPTIONS, read_only=True)
