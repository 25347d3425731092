"""The pose estimator, and the keypoint amplifier that its maps pass; all formulas are ours."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.systems.dfcnet.layers import double, scaled


class Estimator(nn.Module):
  """Heat maps of the joints, [B, S / 2, S / 2, joints], of pictures [B, S, S, 3] in [-1, 1]."""

  width: int
  joints: int = len(JOINTS)
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, picture: Array) -> Array:
    """A small U-net with peaks near 1 at the joints, near 0 elsewhere."""
    conv = partial(scaled, self)
    half = nn.relu(conv(32, 5, 2)(picture))
    quarter = nn.relu(conv(64, 3, 2)(half))
    x = nn.relu(conv(96, 3, 2)(quarter))
    for _ in range(2):
      x = nn.relu(conv(96, 3)(x))
    x = nn.relu(conv(64, 3)(jnp.concatenate([double(x), quarter], -1)))
    x = nn.relu(conv(40, 3)(jnp.concatenate([double(x), half], -1)))
    return nn.Conv(self.joints, (1, 1), dtype=self.dtype)(x).astype(jnp.float32)


class Amplifier(nn.Module):
  """The keypoint amplifier: keeps the peak of each map and suppresses clutter beside it.

  The abstract names it and gives no formula; all variants are ours, see `Architecture`.
  """

  kind: str
  temperature: float
  joints: int = len(JOINTS)

  @nn.compact
  def __call__(self, maps: Array) -> Array:
    """Maps [B, h, w, joints] to the same."""
    if self.kind == "none":
      return maps
    if self.kind == "power":
      fourth = jnp.maximum(maps, 0) ** 4
      return fourth / (fourth + 0.5**4)
    temperature = jnp.full((self.joints,), self.temperature)
    if self.kind == "learned":
      begin = nn.initializers.constant(math.log(math.expm1(self.temperature)))
      temperature = jax.nn.softplus(self.param("theta", begin, (self.joints,)))
    peak = maps.max((1, 2), keepdims=True)
    confidence = jnp.clip(peak, 0, 1)
    return confidence * jnp.exp((maps - peak) / temperature.reshape(1, 1, 1, -1))
