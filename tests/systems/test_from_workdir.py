"""A checkpoint of one of our runs becomes a weights file."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.systems import files, isfuse
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
  """A run of two saved steps, the first the better; the second's weights are one more."""
  options = recipes.get("paper")
  options.data = {"name": "synthetic"}
  options.model.update(features=4, levels=1)
  config = config_lib.build(Config, options.to_dict())
  path = tmp_path_factory.mktemp("runs") / "run"
  record.write(path, record.Identity(config, {"train": {"pairs": 3, "sha256": "abc"}}))
  state = jax.jit(isfuse.procedure(config, 10).init)(jax.random.key(0))
  with Checkpoints(path, config.checkpoint) as checkpoints:
    checkpoints.save(state, 1, {"loss": 0.5})
    more = jax.tree.map(lambda a: a + 1, state.params)
    checkpoints.save(state.replace(params=more), 2, {"loss": 0.7})
  return path


def test_the_best_or_a_named_checkpoint(workdir, tmp_path):
  best, card = files.read(workdir)
  named, of_named = files.read(workdir / "checkpoints" / "2")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a + 1, b, atol=1e-6), best["params"], named["params"]
  )
  assert json.loads(of_named.recipe)["step"] == 2
  assert card.architecture["shared_encoder"] and card.architecture["gate"] == "paper"
  assert card.architecture["features"] == 4 and "dtype" not in card.architecture
  assert json.loads(card.recipe)["step"] == 1
  assert json.loads(card.data) == {"name": "synthetic", "train": {"pairs": 3, "sha256": "abc"}}
  files.save(tmp_path / "w.safetensors", best, card)
  loaded, stored = files.load(tmp_path / "w.safetensors")
  assert stored == card
  jax.tree.map(np.testing.assert_array_equal, loaded, best)


def test_averaged_parameters_are_taken_where_the_run_kept_them(tmp_path):
  options = recipes.get("paper")
  options.data, options.optim.ema_decay = {"name": "synthetic"}, 0.9
  options.model.update(features=4, levels=1)
  config = config_lib.build(Config, options.to_dict())
  record.write(tmp_path, record.Identity(config, {"train": {"pairs": 3, "sha256": "abc"}}))
  state = jax.jit(isfuse.procedure(config, 10).init)(jax.random.key(0))
  state = state.replace(ema_params=jax.tree.map(lambda a: a + 1, state.params))
  with Checkpoints(tmp_path, config.checkpoint) as checkpoints:
    checkpoints.save(state, 1, None)
  variables, card = files.read(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, variables["params"], jax.device_get(state.ema_params))
  assert json.loads(card.recipe)["optim"]["ema_decay"] == 0.9


def test_the_last_where_none_was_validated_and_nothing_is_changed(workdir, tmp_path):
  shutil.copytree(workdir, tmp_path / "run")
  for file in (tmp_path / "run").rglob("metrics/*"):
    file.unlink()
  for folder in list((tmp_path / "run").rglob("metrics")):
    folder.rmdir()
  unfinished = tmp_path / "run" / "checkpoints" / "3.orbax-checkpoint-tmp"
  unfinished.mkdir()
  before = sorted(path.name for path in (tmp_path / "run").rglob("*"))
  _, card = files.read(tmp_path / "run")
  assert json.loads(card.recipe)["step"] == 2
  assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == before


def test_what_is_not_there_is_named(workdir, tmp_path):
  with pytest.raises(InputError, match="no checkpoint of step 3"):
    files.from_workdir(workdir, 3)
  with pytest.raises(InputError, match="no workdir of a run"):
    files.read(tmp_path)
  with pytest.raises(InputError, match="does not exist"):
    files.read(tmp_path / "absent")
  record_of_another = tmp_path / "run.json"
  for content, words in (("{", "damaged"), ("{}", "not the record")):
    record_of_another.write_text(content)
    with pytest.raises(InputError, match=words):
      files.read(tmp_path)
  record_of_another.write_text((workdir / "run.json").read_text())
  with pytest.raises(InputError, match="holds no checkpoint"):
    files.read(tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
