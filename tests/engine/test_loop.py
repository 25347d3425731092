"""Parts of the trainer that the command line tests do not see into."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.core import config as config_lib
from cfi_jax.data import augment
from cfi_jax.engine import loop as train
from cfi_jax.engine.workdir import logs
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse import model as isfuse
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.step import make_eval_step


def tiny(pairs, **changes):
  """The folder recipe for pairs of 24x24, half of them held out."""
  values = config_lib.load(str(ROOT / "configs" / "folder.py")).to_dict()
  values["data"] |= {"root": str(pairs), "validation_fraction": 0.5}
  values["input"]["crop"], values["batch_size"] = 16, 2
  values["model"] |= {"features": 4, "grid": 2}
  values["masks"]["size"], values["validation_metrics"] = (4, 4), ("SSIM",)
  values["loss"]["invariance"]["views"] = ("complementary",)
  values["loss"]["necessity"]["views"] = ()
  return values | changes


@pytest.fixture
def run(pairs, tmp_path, monkeypatch):
  """A run on eight tiny pairs, of a third of the network: it compiles in a third of the time."""
  monkeypatch.setattr(isfuse, "LEVELS", 1)
  config = config_lib.build(Config, tiny(pairs, steps=3))
  return train.open_run(config, tmp_path / "run")


def validate(run, state):
  """The means of step 5, which the logs then have too."""
  run.workdir.mkdir()
  with train.Writer(run.workdir, run.config, 0, run.steps) as writer:
    return writer.validate(5, state, train.compile_validation(run))


@pytest.mark.parametrize("count", [3, 4])
def test_validation_scores_each_pair_once(run, count, tmp_path):
  run = dataclasses.replace(
    run, config=dataclasses.replace(run.config, validation_pairs=count, pictures=count)
  )
  state = train.initial_state(run)
  means = validate(run, state)
  source = run.sources["validation"]
  images = []
  for i in range(4):
    place = augment.centre(24, 24, crop=16)
    sample = source[i]
    images.append([augment.apply(place, x, 16) / 255 for x in sample.values()])
  eval_step = jax.jit(make_eval_step(run.procedure, ("SSIM",), "strict"))
  values = []
  for rows in (images[:2], images[2:]):
    batch = Pair(*(jnp.asarray(np.stack(x), jnp.float32) for x in zip(*rows, strict=True)))
    batch_values, _ = eval_step(state.variables, batch)
    values += [{name: batch_values[name][i] for name in ("loss", "SSIM")} for i in range(2)]
  for name in ("loss", "SSIM"):
    expected = np.mean([value[name] for value in values[:count]])
    assert means[name] == pytest.approx(expected, rel=1e-4)
  row = json.loads((run.workdir / logs.METRICS_FILE).read_text())
  assert row["kind"] == "validation" and row["step"] == 5 and row["SSIM"] == means["SSIM"]
  names = {path.stem for path in (run.workdir / logs.PICTURES).iterdir()}
  assert names == {f"step0000005_{name}" for name in source.names[:count]}


def test_a_validation_that_is_not_finite_stops_the_run(run):
  state = train.initial_state(run)
  state = state.replace(batch_stats=jax.tree.map(lambda x: x * jnp.nan, state.batch_stats))
  with pytest.raises(logs.DivergedError, match="step 5: validation"):
    validate(run, state)
  assert not logs.read_metrics(run.workdir / logs.METRICS_FILE)


def test_averaged_parameters_are_kept_and_used_instead_of_the_last(run):
  optimizer = dataclasses.replace(run.config.optim, ema_decay=0.15, learning_rate=0.01)
  config = dataclasses.replace(run.config, optim=optimizer)
  run = dataclasses.replace(run, config=config, procedure=train.make_procedure(config, run.steps))
  ready = train.Ready(train.compile_train_step(run), run.feed.load(run.mesh), None, None)
  state = train.initial_state(run)
  expected = jax.device_get(state.params)
  for decay, chunk in zip((0.1, 0.15, 0.15), train._chunks(run, 0), strict=True):
    state, _ = ready.train_step(state, ready.images, chunk.inputs)
    expected = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, expected, state.params)
  used = state.variables["params"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), used, expected)
  moved = jax.tree.map(lambda a, p: float(jnp.abs(a - p).max()), used, state.params)
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_step_gives_its_memory_back(run):
  compiled = train.compile_train_step(run).compiled
  state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(train.initial_shapes(run)))
  assert compiled.memory_analysis().alias_size_in_bytes >= state


@pytest.fixture(scope="module")
def trained(write_pairs, tmp_path_factory):
  """Seven steps of one view: by Grain and one per dispatch; and kept on the device, up to four."""
  root = tmp_path_factory.mktemp("trained")
  write_pairs(root / "pairs", 8)
  once = tiny(root / "pairs", steps=7, log_every=1, validate_every=6, validation_metrics=())
  once["model"] |= {"dtype": "float64", "param_dtype": "float64"}
  once["input"]["device_gb"], once["checkpoint"]["every"] = 0.0, 6
  once["optim"]["ema_decay"] = 0.9
  once["loss"]["invariance"]["views"] = once["loss"]["necessity"]["views"] = ()
  several = once | {"input": once["input"] | {"device_gb": 1.0}}
  several |= {"steps_per_dispatch": 4, "log_every": 5}
  with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
    patch.setattr(isfuse, "LEVELS", 1)  # as above
    for name, values in (("once", once), ("several", several)):
      assert train.train(config_lib.build(Config, values), root / name) == 7
  return root


def test_input_path_and_steps_per_dispatch_change_nothing(trained, checkpoint_leaves):
  for step in (6, 7):
    # Not bit by bit: XLA is free to compile the body of a loop differently.
    ours, theirs = (checkpoint_leaves(trained / name, step) for name in ("several", "once"))
    assert ours.keys() == theirs.keys()
    for name, leaf in theirs.items():
      # Biases before a BatchNorm have no gradient.
      if not re.fullmatch(r"(params|ema_params|opt_state)/.*(conv\d|key_\w+)/bias", name):
        atol = 1e-10 * max(1.0, np.abs(leaf).max())
        np.testing.assert_allclose(ours[name], leaf, rtol=0, atol=atol, err_msg=name)
  clock = ("step_seconds", "samples_per_second", "input_wait", "compilations")
  rows = {}
  for name in ("once", "several"):
    read = logs.read_metrics(trained / name / logs.METRICS_FILE)
    read = [{k: v for k, v in row.items() if k not in clock} for row in read]
    rows[name] = {(row.pop("kind"), row["step"]): row for row in read}
  steps = [("train", 5), ("validation", 6), ("train", 7), ("validation", 7)]
  assert list(rows["several"]) == steps
  for step in steps:
    assert rows["several"][step] == pytest.approx(rows["once"][step], rel=1e-6)


def test_nothing_is_compiled_after_the_first_step(trained):
  rows = logs.read_metrics(trained / "once" / logs.METRICS_FILE)
  rows = [row for row in rows if row["kind"] == "train"]
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
  assert len({row["compilations"] for row in rows}) == 1 and rows[0]["compilations"] >= 3
  assert all(0 <= row["input_wait"] <= 1 for row in rows)


def test_epochs_count_the_training_pairs(run):
  config = dataclasses.replace(run.config, steps=0, epochs=2.5)
  assert train.open_run(config, run.workdir).steps == 5
