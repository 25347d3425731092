"""Parts of the trainer that the command line tests do not see into."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax import config as config_lib
from cfi_jax import logs, train
from cfi_jax.data import augment
from cfi_jax.step import make_eval_step
from cfi_jax.types import Pair

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def run(pairs, tmp_path):
  """A run on eight tiny pairs, half of them held out."""
  values = config_lib._load(str(ROOT / "configs" / "folder.py")).to_dict()
  values["data"] |= {"root": str(pairs), "validation_fraction": 0.5}
  values["input"]["crop"], values["batch_size"], values["steps"] = 16, 2, 3
  values["model"] |= {"features": 4, "grid": 2}
  values["masks"]["size"], values["validation_metrics"] = (4, 4), ("SSIM",)
  config = config_lib.build(config_lib.Config, values)
  return train.open_run(config, tmp_path / "run")


@pytest.mark.parametrize("count", [3, 4])
def test_validation_scores_each_pair_once(run, count, tmp_path):
  run = dataclasses.replace(
    run, config=dataclasses.replace(run.config, validation_pairs=count, pictures=count)
  )
  run.workdir.mkdir()
  state = jax.jit(train._initial(run))()
  with train.Writer(run, 0) as writer:
    means = writer.validate(5, state)
  source = run.sources["validation"]
  images = []
  for i in range(4):
    place = augment.centre(24, 24, crop=16)
    sample = source[i]
    images.append([augment.apply(place, x, 16) / 255 for x in (sample.visible, sample.infrared)])
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
  run.workdir.mkdir()
  state = jax.jit(train._initial(run))()
  state = state.replace(batch_stats=jax.tree.map(lambda x: x * jnp.nan, state.batch_stats))
  with (
    train.Writer(run, 0) as writer,
    pytest.raises(logs.DivergedError, match="step 5: validation"),
  ):
    writer.validate(5, state)
  assert not logs.read_metrics(run.workdir / logs.METRICS_FILE)


def test_the_step_gives_its_memory_back(run):
  compiled = train.compile_train_step(run)
  state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(train.initial_shapes(run)))
  assert compiled.memory_analysis().alias_size_in_bytes >= state


def test_epochs_count_the_training_pairs(run):
  config = dataclasses.replace(run.config, steps=0, epochs=2.5)
  assert train.open_run(config, run.workdir).steps == 5
