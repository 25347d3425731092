"""Checkpoints: what is kept, strict restoring, and other numbers of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.engine.state import TrainState
from cfi_jax.engine.workdir.checkpoint import FOLDER, CheckpointOptions, Checkpoints

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
