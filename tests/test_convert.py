"""A checkpoint of one of our runs becomes a weights file."""

import json
import pathlib

import jax
import numpy as np
import pytest

from cfi_jax import config as config_lib
from cfi_jax import convert, optim, recipes, record, weights
from cfi_jax.checkpoint import Checkpoints
from cfi_jax.models import make_model
from cfi_jax.state import init_state
from cfi_jax.types import InputError


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> pathlib.Path:
  """A run of two saved steps; the weights of step 2 are those of step 1 plus one."""
  options = recipes.get("paper")
  options.data = {"name": "synthetic"}
  options.model.features = 4
  config = config_lib.build(config_lib.Config, options.to_dict())
  path = tmp_path_factory.mktemp("runs") / "run"
  record.write(path, config, {"train": {"pairs": 3, "sha256": "abc"}})
  optimizer = optim.make_optimizer(config.optim, 10)
  state = init_state(make_model(config.model), optimizer, 0, 8)
  with Checkpoints(path, config.checkpoint) as checkpoints:
    checkpoints.save(state, 1, 0.5)
    more = jax.tree.map(lambda a: a + 1, state.params)
    checkpoints.save(state.replace(params=more), 2, 0.7)
  return path


def test_the_last_or_a_named_checkpoint(workdir, tmp_path):
  last, card = convert.read(workdir)
  named, _ = convert.read(workdir / "checkpoints" / "1")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b + 1, atol=1e-6), last["params"], named["params"]
  )
  assert card.architecture["shared_encoder"] and card.architecture["gate"] == "paper"
  assert card.architecture["features"] == 4 and "dtype" not in card.architecture
  assert json.loads(card.recipe)["step"] == 2
  assert json.loads(card.data) == {"name": "synthetic", "train": {"pairs": 3, "sha256": "abc"}}
  weights.save(tmp_path / "w.safetensors", last, card)
  loaded, stored = weights.load(tmp_path / "w.safetensors")
  assert stored == card
  jax.tree.map(np.testing.assert_array_equal, loaded, last)


def test_what_is_not_there_is_named(workdir, tmp_path):
  with pytest.raises(InputError, match="no checkpoint of step 3"):
    convert.from_workdir(workdir, 3)
  with pytest.raises(InputError, match="no workdir of a run"):
    convert.read(tmp_path)
  with pytest.raises(InputError, match="does not exist"):
    convert.read(tmp_path / "absent")
  record_of_another = tmp_path / "run.json"
  for content, words in (("{", "damaged"), ("{}", "not the record")):
    record_of_another.write_text(content)
    with pytest.raises(InputError, match=words):
      convert.read(tmp_path)
  record_of_another.write_text((workdir / "run.json").read_text())
  with pytest.raises(InputError, match="holds no checkpoint"):
    convert.read(tmp_path)
