"""Random keys folded from names and numbers, so that a draw depends on them and on nothing else."""

import jax
import jax.numpy as jnp

from cfi_jax.core.names import name_number
from cfi_jax.core.types import Array


def fold(key: Array, *parts: str | int | Array) -> Array:
  """The key folded from `key` and each part in turn; a name counts by its `name_number`."""
  for part in parts:
    key = jax.random.fold_in(key, name_number(part) if isinstance(part, str) else part)
  return key


def per_sample(key: Array, count: int) -> Array:
  """Keys [count]; key i is folded from `key` and i, so that a sample's key knows no batch size."""
  return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
