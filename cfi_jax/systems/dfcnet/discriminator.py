"""The discriminator, which judges patches of pictures with the pose they shall show; ours."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.dfcnet.layers import halve, instance_norm, leaky, scaled


class Discriminator(nn.Module):
  """Judges patches of pictures [B, S, S, 3] in [-1, 1] with maps [B, S / 2, S / 2, K].

  1 is what real pictures in the pose of the maps shall get. Gives one map [B, h, w, 1] per scale,
  the first of the whole picture, each other of half the size of the one before.
  """

  width: int
  scales: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, picture: Array, maps: Array) -> tuple[Array, ...]:
    """Judgements, in float32."""
    judged = []
    for scale in range(self.scales):
      if scale:
        picture, maps = halve(picture), halve(maps)
      judged.append(_Patches(self.width, self.dtype)(picture, maps))
    return tuple(judged)


class _Patches(nn.Module):
  """The discriminator of one scale."""

  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, picture: Array, maps: Array) -> Array:
    conv = partial(scaled, self, kernel=4, stride=2)
    x = leaky(conv(32)(picture))
    x = leaky(conv(64)(jnp.concatenate([x, maps], -1)))
    x = leaky(instance_norm(conv(96, bias=False)(x)))  # which would take a bias away again
    return nn.Conv(1, (3, 3), dtype=self.dtype)(x).astype(jnp.float32)
