"""Random weights for tests: nothing is compiled for them, unlike for a network's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.engine.state import TrainState
from cfi_jax.systems.isfuse.model import init
from cfi_jax.systems.isfuse.procedure import init_state
from cfi_jax.systems.isfuse.views import Parts


def random_variables(module: nn.Module, seed: int = 0) -> dict:
  """Variables in which every leaf, running statistics included, matters."""
  random = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    if name in ("scale", "var"):
      values = random.uniform(0.5, 1.5, shape.shape)
    else:
      spread = 0.1 if name in ("bias", "mean") else np.prod(shape.shape[:-1]) ** -0.5
      values = random.normal(0, spread, shape.shape)
    return jnp.asarray(values, shape.dtype)

  return jax.tree_util.tree_map_with_path(
    leaf, jax.eval_shape(lambda: init(module, jax.random.key(0)))
  )


def random_state(parts: Parts, seed: int = 0) -> TrainState:
  """A state before the first step; Adam's moments are zero."""
  variables = random_variables(parts.model, seed)
  shapes = jax.eval_shape(lambda: init_state(parts, jax.random.key(0), ema=False))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return zeros.replace(**variables)
