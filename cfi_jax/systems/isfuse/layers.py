"""The blocks that fusion networks are made of, as linen modules on [B, H, W, C]."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.isfuse.statistics import BatchNorm

Padding = Literal["zeros", "reflect", "replicate"]
PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}
LEAK = 0.01  # negative slope of every LeakyReLU


class Conv(nn.Module):
  """3x3 convolution with bias, stride 1, same size; `padding` says what lies outside the image."""

  features: int
  padding: Padding
  dtype: jnp.dtype
  param_dtype: jnp.dtype

  def setup(self):
    """Declares the convolution under this module's own name."""
    border = 1 if self.padding == "zeros" else 0
    kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    self.conv = nn.Conv(self.features, (3, 3), padding=border, **kinds)
    nn.share_scope(self, self.conv)

  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, features]."""
    if self.padding != "zeros":
      x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=PADDINGS[self.padding])
    return self.conv(x)


class ConvBlock(nn.Module):
  """[3x3 convolution, BatchNorm, LeakyReLU] `depth` times."""

  features: int
  padding: Padding
  dtype: jnp.dtype
  param_dtype: jnp.dtype
  depth: int = 2

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H, W, features]."""
    for i in range(1, self.depth + 1):
      x = Conv(self.features, self.padding, self.dtype, self.param_dtype, name=f"conv{i}")(x)
      x = BatchNorm(self.dtype, self.param_dtype, name=f"norm{i}")(x, train)
      # Not nn.leaky_relu, whose slope at 0 is 1: the reference's is LEAK, and a blank view's maps
      # are 0 everywhere while the biases are, with BatchNorms that multiply gradients by 316.
      x = jnp.where(x > 0, x, LEAK * x)
    return x


class Encoder(nn.Module):
  """Features of one modality at `levels` sizes, each half of the one before (floor)."""

  features: int
  levels: int
  padding: Padding
  dtype: jnp.dtype
  param_dtype: jnp.dtype

  @nn.compact
  def __call__(self, image: Array, train: bool) -> tuple[Array, ...]:
    """Maps an image [B, H, W, 1] to its features [B, H/2^k, W/2^k, features], finest first."""
    x = image.astype(self.dtype)
    features = []
    for level in range(1, self.levels + 1):
      if level > 1:
        # reduce_window gives the gradient to the first maximum of a tie, as the reference does.
        x = nn.max_pool(x, (2, 2), (2, 2))
      block = ConvBlock(
        self.features, self.padding, self.dtype, self.param_dtype, name=f"level{level}"
      )
      x = block(x, train)
      features.append(x)
    return tuple(features)
