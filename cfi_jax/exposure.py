"""Darker pairs in training: what other cameras, and nights, look like to a network.

Ours. The levels of a data set are those of its cameras; a network that saw no dark pair makes grey
of black ones, and most of all where it has learned that black is a hole.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from cfi_jax.types import Array, InputError, Pair


@dataclasses.dataclass(frozen=True)
class ExposureOptions:
  """How many pairs are made darker, and how far.

  probability: of a pair to be. least: its images are each multiplied by a factor of their own
    between `least` and 1, whose logarithm is uniform.
  """

  probability: float
  least: float

  def __post_init__(self):
    """Raises InputError for what is no probability or no factor."""
    if not 0 <= self.probability <= 1:
      raise InputError(f"exposure.probability is {self.probability}; allowed: 0 to 1")
    if not 0 < self.least <= 1:
      raise InputError(f"exposure.least is {self.least}; allowed: above 0, to 1")


def darken(key: Array, batch: Pair, options: ExposureOptions) -> Pair:
  """The batch [B, H, W, 1] with some pairs made darker; sample i depends on (key, i) only."""
  if not options.probability:
    return batch

  def one(key: Array, pair: Pair) -> Pair:
    chosen_key, visible_key, infrared_key = jax.random.split(key, 3)
    chosen = jax.random.bernoulli(chosen_key, options.probability)

    def scale(key: Array, image: Array) -> Array:
      stops = jax.random.uniform(key, (), image.dtype, minval=math.log(options.least), maxval=0)
      return jnp.where(chosen, image * jnp.exp(stops), image)

    return Pair(
      visible=scale(visible_key, pair.visible), infrared=scale(infrared_key, pair.infrared)
    )

  indices = jnp.arange(batch.visible.shape[0])
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
  return jax.vmap(one)(keys, batch)
