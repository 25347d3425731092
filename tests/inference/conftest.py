"""Models with random weights, small enough to compile quickly."""

import numpy as np
import pytest
from random_weights import random_variables

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


@pytest.fixture(scope="session")
def make_small():
  """Model with random weights; keyword arguments change its architecture."""

  def make(dtype="float32", devices=None, **changes):
    architecture = SMALL | changes
    variables = random_variables(weights.model(architecture, "float32"))
    return Model(variables, architecture, dtype=dtype, devices=devices)

  return make


@pytest.fixture(scope="session")
def small(make_small):
  """One float32 model shared by the tests, and with it its compiled programs."""
  return make_small()


@pytest.fixture
def random():
  return np.random.default_rng(1)
