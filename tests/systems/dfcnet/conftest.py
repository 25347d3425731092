"""One tiny run of DFC-Net, its compiled step, and samples of the embedded people, for all tests."""

import pathlib
import types

import jax
import pytest

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.engine import feed
from cfi_jax.engine import run as run_lib
from cfi_jax.systems import dfcnet, files
from cfi_jax.systems.dfcnet import model
from cfi_jax.systems.dfcnet.procedure import make_parts

TINY = pathlib.Path(__file__).parent / "tiny.py"


def tiny(**changes):
  """Values of the smallest config; changes: values by path, `model__width=2`."""
  config = config_lib.load(str(TINY))
  for path, value in changes.items():
    config.update_from_flattened_dict({path.replace("__", "."): value})
  return config.to_dict()


@pytest.fixture(scope="session")
def values():
  """`tiny`."""
  return tiny


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
  """The tiny run: config, parts, initial state, a batch, held-out samples, the jitted step."""
  system, config = systems.configure(tiny())
  run = run_lib.open_run(system, config, tmp_path_factory.mktemp("dfcnet") / "run")
  items = next(feed.items(run.feeds, 0, 1))
  batch = feed.cutter(run.feeds)({name: () for name in items}, items, jax.random.key(0))
  images = {
    name: jax.numpy.stack([run.held_out.stream.source[i][name] / 255 for i in range(4)])
    for name in run.held_out.channels
  }
  held_out = feed.finish(run.held_out.stream, images, jax.random.key(0), "held_out")
  parts = make_parts(config, config.steps)
  step = jax.jit(lambda state, batch: run.procedure.train_step(state, batch, (), None))
  return types.SimpleNamespace(
    config=config, parts=parts, state=run.initial_state(), batch=batch, held_out=held_out, step=step
  )


@pytest.fixture(scope="session")
def variables(toy):
  """Variables of the tiny network before training, whose estimator finds every joint somewhere."""
  params = model.init(toy.config.model, jax.random.key(1))
  last = max(params["estimator"], key=lambda name: int(name.split("_")[1]))
  params["estimator"][last]["bias"] += 0.5
  return {"params": params}


@pytest.fixture(scope="session")
def weights(toy, variables, tmp_path_factory):
  """A file of them, people.safetensors."""
  path = tmp_path_factory.mktemp("weights") / "people.safetensors"
  _, architecture = dfcnet.product(toy.config, toy.state)
  files.save(path, variables, files.Card("dfcnet", architecture, "{}", "{}", "2026-11-28", "none"))
  return path
