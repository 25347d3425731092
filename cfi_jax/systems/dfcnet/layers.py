"""Blocks of the networks, [B, H, W, C]; all of them are ours."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array

leaky = partial(nn.leaky_relu, negative_slope=0.2)


def scaled(
  module: nn.Module, channels: int, kernel: int = 3, stride: int = 1, bias: bool = True
) -> nn.Conv:
  """A convolution with the module's width times as many channels, in its dtype."""
  channels, size = channels * module.width, (kernel, kernel)
  return nn.Conv(channels, size, stride, use_bias=bias, dtype=module.dtype)


class Residual(nn.Module):
  """x + conv(relu(conv(x))), whose second convolution begins small."""

  channels: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, channels] to the same."""
    small = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
    hidden = nn.relu(nn.Conv(self.channels, (3, 3), dtype=self.dtype)(x))
    return x + nn.Conv(self.channels, (3, 3), kernel_init=small, dtype=self.dtype)(hidden)


def double(x: Array) -> Array:
  """Twice the height and width, each pixel repeated."""
  batch, height, width, channels = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
  return x.reshape(batch, 2 * height, 2 * width, channels)


def halve(x: Array) -> Array:
  """Half the height and width, means of 2 x 2 pixels."""
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def instance_norm(x: Array) -> Array:
  """Mean 0 and variance 1 of every channel of an example."""
  mean = x.mean((1, 2), keepdims=True)
  variance = jnp.square(x - mean).mean((1, 2), keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + 1e-5)


def positions(like: Array) -> Array:
  """Coordinates from -1 to 1, [B, H, W, 2]."""
  batch, height, width, _ = like.shape
  axes = jnp.meshgrid(jnp.linspace(-1, 1, width), jnp.linspace(-1, 1, height))
  return jnp.broadcast_to(jnp.stack(axes, -1)[None], (batch, height, width, 2)).astype(like.dtype)


def everywhere(x: Array) -> Array:
  """The mean over the picture, at every place."""
  return jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
