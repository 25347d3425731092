"""Models with random weights, small enough to compile quickly."""

import jax
import numpy as np
import pytest

from cfi_jax import weights
from cfi_jax.inference import Model

SMALL = {
  "name": "isfuse",
  "features": 8,
  "grid": 8,
  "shared_encoder": False,
  "gate": "released",
  "padding": "zeros",
}


def random_variables(architecture, seed=0):
  """Variables in which every leaf, running statistics included, matters."""
  shapes = weights.shapes(weights.model(architecture, "float32"))
  random = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    if name in ("scale", "var"):
      return random.uniform(0.5, 1.5, shape.shape)
    spread = 0.1 if name in ("bias", "mean") else np.prod(shape.shape[:-1]) ** -0.5
    return random.normal(0, spread, shape.shape)

  return jax.tree_util.tree_map_with_path(leaf, shapes)


@pytest.fixture(scope="session")
def make_small():
  """Model with random weights; keyword arguments change its architecture."""

  def make(dtype="float32", devices=None, **changes):
    architecture = SMALL | changes
    return Model(random_variables(architecture), architecture, dtype=dtype, devices=devices)

  return make


@pytest.fixture(scope="session")
def small(make_small):
  """One float32 model shared by the tests, and with it its compiled programs."""
  return make_small()


@pytest.fixture
def random():
  return np.random.default_rng(1)
