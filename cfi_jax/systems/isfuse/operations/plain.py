"""Operations in plain JAX on maps [B, H, W, C]: the reference that every other way equals."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.operations import attention

Padding = Literal["zeros", "reflect", "replicate"]
PADDINGS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}
LEAK = 0.01  # negative slope of every LeakyReLU
EPSILON = 1e-5  # of BatchNorm
LEAST_TRUST = 1e-3

Moments = tuple[Array, Array]  # mean and biased variance of every channel, [C] each
Direction = tuple[Array, Array, Array, Array]


@dataclasses.dataclass(frozen=True)
class Plain:
  """Everything that the network does with maps, each operation for one view of a batch.

  padding: what 3x3 convolutions see outside the image. dtype: of maps; statistics, softmax and
  sigmoid keep at least float32, and parameters come in their own precision.
  attention: see `attention.ATTENTIONS`.
  Inside `sharding.on_shares` a batch is a device's share, and statistics are those of all shares.
  """

  padding: Padding
  dtype: jnp.dtype
  attention: str = "matmul"

  def enter(self, image: Array) -> Array:
    """The map of images [B, H, W, 1]."""
    return image.astype(self.dtype)

  def leave(self, x: Array) -> Array:
    """Maps as arrays [B, H, W, C]."""
    return x

  def channels(self, x: Array) -> int:
    """The number of channels of a map."""
    return x.shape[-1]

  def pixels(self, x: Array) -> int:
    """The number of pixels of one image of a map."""
    return x.shape[1] * x.shape[2]

  def convolve(self, x: Array, kernel: Array, bias: Array) -> Array:
    """3x3 convolution with a kernel [3, 3, Ci, Co] and a bias [Co], same size."""
    kernel, bias = (weights.astype(self.dtype) for weights in self._laid_out(kernel, bias))
    border = 1 if self.padding == "zeros" else 0
    if self.padding != "zeros":
      x = self._surround(x)
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), [(border, border)] * 2, dimension_numbers=dimensions
    )
    return y + per_channel(bias)

  def _laid_out(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
    """A convolution's weights for the layout of maps."""
    return kernel, bias

  def _surround(self, x: Array) -> Array:
    """The map with what 3x3 convolutions see beyond its border, where that is not zeros."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=PADDINGS[self.padding])

  def block(
    self, x: Array, kernel: Array, bias: Array, scale: Array, offset: Array, given: Moments | None
  ) -> tuple[Array, Moments]:
    """3x3 convolution, BatchNorm with `scale` and `offset` [Co], LeakyReLU.

    given: the moments that normalise; without them those of the batch over all devices. Returns
    (map, the moments that normalised it).
    """
    exact = self.convolve(x, kernel, bias).astype(statistics_dtype(self.dtype))
    mean, var = batch_moments(exact) if given is None else given
    gain = scale / jnp.sqrt(var + EPSILON)
    normal = (exact - per_channel(mean)) * per_channel(gain) + per_channel(offset)
    normal = normal.astype(self.dtype)
    # Not nn.leaky_relu, whose slope at 0 is 1: the reference's is LEAK, and a blank view's maps
    # are 0 everywhere while the biases are, with BatchNorms that multiply gradients by 316.
    return jnp.where(normal > 0, normal, LEAK * normal), (mean, var)

  def halve(self, x: Array) -> Array:
    """2x2 max pooling, sizes rounded down; the gradient goes to the first maximum of a tie."""
    return nn.max_pool(x, (2, 2), (2, 2))

  def grid(self, x: Array, side: int) -> Array:
    """The mean of every cell of a grid, [B, side, side, C]; see `ops.average_pool`."""
    return ops.average_pool(x, side)

  def attend(
    self, visible: Array, infrared: Array, directions: tuple[Direction, Direction]
  ) -> Array:
    """Attention of every pixel over few tokens, summed over visible's and infrared's queries.

    directions: for visible and infrared the query's kernel [C, C] and bias [C], and keys and values
    [B, T, C] of the other modality. A batch of one is broadcast, in maps and in tokens.
    """
    maps = (visible, infrared)
    pixels = tuple(x.reshape(x.shape[0], -1, x.shape[-1]) for x in maps)
    if attention.get(self.attention) is attention.pallas:
      tokens = tuple(attention.projected(*direction) for direction in directions)
      total = attention.kernel(pixels, tokens, visible.shape[-1] ** -0.5)
    else:
      asking = zip(pixels, directions, strict=True)
      total = sum(self._attend(x, *direction) for x, direction in asking)
    return total.reshape(-1, *visible.shape[1:])

  def _attend(self, x: Array, kernel: Array, bias: Array, key: Array, value: Array) -> Array:
    queries = project(x, kernel.astype(self.dtype), bias.astype(self.dtype))
    return attention.get(self.attention)(queries, key, value)

  def mix(
    self,
    x: Array,
    kernel: Array,
    bias: Array,
    complementary: Array,
    visible: Array,
    infrared: Array,
  ) -> tuple[Array, Array]:
    """The gate [B, h, w, 1] in [0, 1], and gate * complementary + (1 - gate) * (the local sum).

    The gate is the sigmoid of a projection (kernel [C, 1]) or a 3x3 convolution of `x`.
    """
    logits = (self.convolve if kernel.ndim == 4 else self._narrow)(x, kernel, bias)
    logits = logits.astype(statistics_dtype(self.dtype))
    gate, mixed = self._blend(logits, complementary, visible, infrared)
    return self.leave(gate), mixed

  def _narrow(self, x: Array, kernel: Array, bias: Array) -> Array:
    """The projection of every pixel to one channel."""
    return project(x, kernel.astype(self.dtype), bias.astype(self.dtype))

  def _blend(
    self, logits: Array, complementary: Array, visible: Array, infrared: Array
  ) -> tuple[Array, Array]:
    """The gate as a map of one channel, and what it mixes."""
    gate = nn.sigmoid(logits)
    weight = gate.astype(self.dtype)
    return gate, weight * complementary + (1 - weight) * (visible + infrared)

  def enlarge(self, x: Array, skip: Array) -> Array:
    """`skip` plus `x` resized to its size, bilinear; see `ops.resize_matrix`."""
    return ops.resize(x, *skip.shape[1:3]) + skip

  def head(self, x: Array, kernel: Array, bias: Array) -> Array:
    """3x3 convolution to one channel, [B, H, W, 1]."""
    return self.leave(self.convolve(x, kernel, bias))


def as_trust(picture: Array) -> Array:
  """A head's picture in [0, 1] as trust, which is never quite 0: a rule divides by it."""
  return LEAST_TRUST + (1 - LEAST_TRUST) * picture


def batch_moments(x: Array) -> Moments:
  """Mean and biased variance of every channel of [B, H, W, C] over all devices.

  The variance is E[(x - mean)^2], since E[x^2] - mean^2 cancels where a view is constant.
  """
  mean = sharding.mean(x.mean((0, 1, 2)))
  return mean, sharding.mean(jnp.square(x - per_channel(mean)).mean((0, 1, 2)))


def per_channel(vector: Array) -> Array:
  """[C] as [1, 1, 1, C]."""
  return vector.reshape(1, 1, 1, -1)


def project(x: Array, kernel: Array, bias: Array) -> Array:
  """The last axis times a matrix [C, C'], plus a bias."""
  y = jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
  return y + bias.reshape(*(1,) * (y.ndim - 1), -1)
