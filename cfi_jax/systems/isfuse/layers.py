"""The blocks that fusion networks are made of: parameters, and the order of operations."""

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Initializer

from cfi_jax.core.types import Array
from cfi_jax.systems.isfuse.operations.plain import Plain
from cfi_jax.systems.isfuse.statistics import BatchNorm


class Affine(nn.Module):
  """Kernel and bias of a projection, or of a convolution with a window such as (3, 3)."""

  features: int
  param_dtype: jnp.dtype
  window: tuple[int, ...] = ()
  kernel_init: Initializer = nn.initializers.lecun_normal()
  bias_init: Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, inputs: int) -> tuple[Array, Array]:
    """The kernel [*window, inputs, features] and the bias [features]."""
    shape = (*self.window, inputs, self.features)
    kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
    bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
    return kernel, bias


class ConvBlock(nn.Module):
  """[3x3 convolution, BatchNorm, LeakyReLU] `depth` times."""

  features: int
  operations: Plain
  param_dtype: jnp.dtype
  depth: int = 2

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps a map to one of `features` channels."""
    for i in range(1, self.depth + 1):
      affine = Affine(self.features, self.param_dtype, (3, 3), name=f"conv{i}")
      weights = affine(self.operations.channels(x))
      norm = BatchNorm(self.features, self.operations, self.param_dtype, name=f"norm{i}")
      x = norm(x, *weights, train)
    return x


class Encoder(nn.Module):
  """Features of one modality at `levels` sizes, each half of the one before (floor)."""

  features: int
  levels: int
  operations: Plain
  param_dtype: jnp.dtype

  @nn.compact
  def __call__(self, image: Array, train: bool) -> tuple[Array, ...]:
    """Maps images [B, H, W, 1] to maps of `features` channels, finest first."""
    x = self.operations.enter(image)
    features = []
    for level in range(1, self.levels + 1):
      if level > 1:
        x = self.operations.halve(x)
      x = ConvBlock(self.features, self.operations, self.param_dtype, name=f"level{level}")(
        x, train
      )
      features.append(x)
    return tuple(features)
