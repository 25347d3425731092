"""Weights of runs: of which checkpoint they are, what their card says, and what a run begins with.

No checkpoint and no weights file is read; test_identity.py reads them.
"""

import contextlib
import json
import types

import jax
import numpy as np
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import product

toys.install()
DAY = 86_400


@pytest.fixture
def read(monkeypatch, tmp_path):
  """`from_workdir` of a run with checkpoints of steps 2, 5 and 9, each saved on that day of 1970.

  All its leaves are the number of the step.
  """
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  values["data"]["root"] = "/images"
  stored = {"config": values, "data": {"train": {"pairs": 3}}}

  def restore(template, mesh, step):
    assert mesh.size == jax.device_count()
    return jax.tree.map(lambda x: jax.device_put(np.full(x.shape, step, x.dtype)), template)

  def call(best, step=None):
    kept = types.SimpleNamespace(steps=(2, 5, 9), best=best, restore=restore)

    def open_checkpoints(workdir, options, *, read_only):
      assert (workdir, options.keep, read_only) == (tmp_path, 2, True)
      return contextlib.nullcontext(kept)

    monkeypatch.setattr(product, "Checkpoints", open_checkpoints)
    monkeypatch.setattr(product.mirror, "saved_at", lambda workdir, step: DAY * (step - 1) + 60)
    return product.from_workdir(systems.find("one"), stored, tmp_path, step)

  return call


@pytest.mark.parametrize(
  ("best", "asked", "step"), [(2, None, 2), (None, None, 9), (5, 2, 2), (None, 2, 2)]
)
def test_weights_are_of_the_step_asked_for_or_the_best_or_the_last(read, best, asked, step):
  variables, card = read(best, asked)
  gain = variables["params"]["gain"]
  assert type(gain) is np.ndarray and (gain == step).all()
  assert json.loads(card.recipe)["step"] == step and card.date == f"1970-01-0{step}"


def test_a_card_says_how_and_on_what_but_not_where(read):
  card = read(2)[1]
  assert (card.system, card.architecture) == ("one", {"toy": 1})
  recipe, data = json.loads(card.recipe), json.loads(card.data)
  assert (recipe["seed"], recipe["batch_size"]) == (0, 4)
  assert not {"data", "model", "log_every", "memory_gb"} & set(recipe)
  assert recipe["checkpoint"] == {"best": "loss", "direction": "lower"}
  assert set(recipe["input"]) == {
    "crop", "flip", "transpose", "shuffle", "normalize", "normalize_over"
  }  # fmt: skip
  assert data["visible"] == "visible" and data["train"] == {"pairs": 3} and "root" not in data


@pytest.fixture
def begin(monkeypatch, tmp_path):
  """A function of the parameters that a file has: those a run with one part more begins with."""

  def call(params, dtype=np.float32):
    given = {name: np.asarray(value, dtype) for name, value in params.items()}
    sizes = {name: value.shape for name, value in given.items()} | {"new_a": (3,)}
    shapes = {name: jax.ShapeDtypeStruct(size, np.float16) for name, size in sizes.items()}
    system = types.SimpleNamespace(
      procedure=lambda config, steps: types.SimpleNamespace(init=lambda key: {}),
      product=lambda config, state: ({"params": shapes}, {"part": "some"}),
    )
    card = types.SimpleNamespace(architecture={"part": "none"})
    there = types.MappingProxyType({"params": given})  # not every mapping is a dict
    monkeypatch.setattr(product, "_read", lambda system, config: (there, card))
    config = types.SimpleNamespace(init_from="f", OLDER={}, ADDED={"part": "params/new_"})
    return product.read_initial(system, config, tmp_path)

  return call


def test_the_variables_of_a_part_that_weights_lack_are_0(begin):
  params = begin({"old": [1.0, 2.0], "bias": [3.0]})[0]["params"]
  assert {n: x.tolist() for n, x in params.items()} == {
    "old": [1, 2], "bias": [3], "new_a": [0, 0, 0]
  }  # fmt: skip
  assert {x.dtype for x in params.values()} == {np.dtype(np.float16)}


def test_weights_are_known_by_their_values_alone(begin):
  known = begin({"old": [1.0, 2.0], "bias": [3.0]})[1]["init"]
  assert len(known) == 64
  assert begin({"bias": [3.0], "old": [1.0, 2.0]}, np.float64)[1]["init"] == known
  assert begin({"old": [1.0, 2.0], "bias": [4.0]})[1]["init"] != known
  assert begin({"old": [1.0, 2.0], "base": [3.0]})[1]["init"] != known


@pytest.mark.parametrize(
  ("named", "checkpoints", "again"), [("f", True, False), ("f", False, True), ("g", True, True)]
)
def test_a_run_under_way_does_not_read_its_weights_again(
  monkeypatch, tmp_path, named, checkpoints, again
):
  def refuse(system, config):
    raise InputError("is read")

  stored = {"config": {"init_from": named}, "data": {"init": "abc"}}
  monkeypatch.setattr(product.record, "read", lambda workdir: stored)
  monkeypatch.setattr(product.record, "has_checkpoints", lambda workdir: checkpoints)
  monkeypatch.setattr(product, "_read", refuse)
  config = types.SimpleNamespace(init_from="f")
  if again:
    with pytest.raises(InputError, match="is read"):
      product.read_initial(None, config, tmp_path)
  else:
    assert product.read_initial(None, config, tmp_path) == (None, {"init": "abc"})


@pytest.mark.parametrize(
  ("given", "workdir", "step"),
  [
    ("run", "run", None),
    ("run/checkpoints/12", "run", 12),
    ("12", "12", None),  # a workdir of that name
    ("checkpoints/run", "checkpoints/run", None),
  ],
)
def test_a_path_names_a_run_or_a_checkpoint_of_one(monkeypatch, tmp_path, given, workdir, step):
  (tmp_path / given).mkdir(parents=True)
  stored = {"config": {"system": "one"}}
  monkeypatch.setattr(product.record, "read", lambda path: stored)
  monkeypatch.setattr(product, "from_workdir", lambda *arguments: arguments)
  config = types.SimpleNamespace(init_from=str(tmp_path / given), system="one")
  assert product._read("system", config) == ("system", stored, tmp_path / workdir, step)


@pytest.mark.parametrize("name", ["none.safetensors", "some.npz"])
def test_what_is_no_weights_file_is_refused(tmp_path, name):
  (tmp_path / "some.npz").touch()
  config = types.SimpleNamespace(init_from=str(tmp_path / name), system="one")
  with pytest.raises(InputError, match=f"{name}'; allowed: the workdir of a run, WORKDIR/"):
    product._read(None, config)
