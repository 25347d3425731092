"""Blocks that both networks are made of, on maps [B, H, W, C]."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.systems.amgfuse.ways import Ways

EPSILON = 1e-5  # of LayerNorm
EXACT = jax.lax.Precision.HIGHEST
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def bound(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
  """Initialises a kernel [..., outputs] with 1 / sqrt(inputs of an output), PyTorch's bound.

  `model.init` multiplies it by numbers in [-1, 1], all in one draw: drawn one by one, they are most
  of what is to be compiled.
  """
  del key
  return jnp.full(shape, math.prod(shape[:-1]) ** -0.5, dtype)


def convolve(x: Array, kernel: Array, groups: int = 1) -> Array:
  """Convolution with a kernel [k, k, inputs / groups, outputs], zeros outside, same size."""
  return jax.lax.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    (1, 1),
    "SAME",
    dimension_numbers=DIMENSIONS,
    feature_group_count=groups,
  )


def depthwise(ways: Ways, x: Array, kernel: Array) -> Array:
  """Convolution of every channel with its own kernel [k, k, C], zeros outside, same size."""
  kernel = kernel.astype(x.dtype)
  if ways.local == "shifted":
    return _shifted(x, kernel)
  return convolve(x, kernel[:, :, None], groups=x.shape[-1])


@jax.custom_vjp
def _shifted(x: Array, kernel: Array) -> Array:
  """Depthwise convolution as a sum of shifted products."""
  return _products(x, kernel)


@jax.jit  # traced once for each shape, of which a network has few
def _products(x: Array, kernel: Array) -> Array:
  return sum(kernel[i, j].reshape(1, 1, 1, -1) * part for i, j, part in _shifts(x, kernel))


@jax.jit
def _of_kernel(x: Array, kernel: Array, gradient: Array) -> Array:
  """The gradient with respect to the kernel."""
  taps = [(part * gradient).sum((0, 1, 2)) for _, _, part in _shifts(x, kernel)]
  return jnp.stack(taps).reshape(kernel.shape)


def _shifts(x: Array, kernel: Array):
  """Yields the row and column of every tap, and the map that it sees."""
  size, (_, height, width, _) = len(kernel), x.shape
  reach = size // 2
  padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
  for i in range(size):
    for j in range(size):
      yield i, j, padded[:, i : i + height, j : j + width]


def _shifted_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return _shifted(x, kernel), (x, kernel)


def _shifted_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
  x, kernel = saved
  return _products(gradient, kernel[::-1, ::-1]), _of_kernel(x, kernel, gradient)


_shifted.defvjp(_shifted_forward, _shifted_backward)


class Convolution(nn.Module):
  """Convolution with a square window, or of single pixels; zeros outside, same size."""

  features: int
  ways: Ways
  window: int = 3
  bias: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps a map to one of `features` channels."""
    inputs, dtype = x.shape[-1], self.ways.param_dtype
    if self.window == 1:
      kernel = self.param("kernel", bound, (inputs, self.features), dtype)
      return jnp.matmul(x, kernel.astype(x.dtype))
    shape = (self.window, self.window, inputs, self.features)
    y = convolve(x, self.param("kernel", bound, shape, dtype))
    if not self.bias:
      return y
    same = nn.initializers.constant((self.window**2 * inputs) ** -0.5)
    bias = self.param("bias", same, (self.features,), dtype)
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


class Depthwise(nn.Module):
  """Depthwise convolution with a square window."""

  ways: Ways
  window: int = 3

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    return depthwise(self.ways, x, depthwise_kernel(self, self.window, x.shape[-1]))


def depthwise_kernel(module: nn.Module, window: int, channels: int, name: str = "kernel") -> Array:
  """Declares a kernel [window, window, channels] of a module, with one input for each output."""
  return module.param(name, bound, (window, window, channels), module.ways.param_dtype)


class Residual(nn.Module):
  """x + conv(relu(conv(x))), both convolutions 3x3 with biases."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    conv = functools.partial(Convolution, x.shape[-1], self.ways, bias=True)
    return x + conv(name="conv2")(nn.relu(conv(name="conv1")(x)))


class Stage(nn.Module):
  """relu(Residual(x)), of the streams of one modality."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    return nn.relu(Residual(self.ways, name="residual")(x))


class Down(nn.Module):
  """Halves the sides and doubles the channels."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H/2, W/2, 2 C], H and W even."""
    return unshuffle(Convolution(x.shape[-1] // 2, self.ways, name="conv")(x))


class Up(nn.Module):
  """Doubles the sides and halves the channels."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, 2 H, 2 W, C/2]."""
    return shuffle(Convolution(2 * x.shape[-1], self.ways, name="conv")(x))


def unshuffle(x: Array) -> Array:
  """[B, H, W, C] -> [B, H/2, W/2, 4 C]; channel 4 c + 2 dy + dx is pixel (dy, dx) of channel c."""
  chex.assert_rank(x, 4)
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)


def shuffle(x: Array) -> Array:
  """Inverts `unshuffle`."""
  chex.assert_rank(x, 4)
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height, width, channels // 4, 2, 2)
  return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


class LayerNorm(nn.Module):
  """Normalises every pixel over its channels, with scale and bias."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape and dtype of the map."""
    channels, exact = (x.shape[-1],), self.ways.exact
    scale = self.param("scale", nn.initializers.ones, channels, self.ways.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, channels, self.ways.param_dtype)
    wide = x.astype(exact)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normal = centred / jnp.sqrt(variance + EPSILON)
    scale, bias = (w.astype(exact).reshape(1, 1, 1, -1) for w in (scale, bias))
    return (normal * scale + bias).astype(x.dtype)


class Feedforward(nn.Module):
  """Mixes channels between two scales of neighbourhoods, 3x3 and 5x5 (MSFN)."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    channels, dtype = x.shape[-1], self.ways.param_dtype
    hidden = int(2.66 * channels)
    project_in = self.param("project_in", bound, (channels, 2 * hidden), dtype)
    kernels = {k: depthwise_kernel(self, k, 2 * hidden, f"local{k}") for k in (3, 5)}
    pairs = {
      k: self.param(f"pairs{k}", bound, (k, k, 2, hidden), dtype).astype(x.dtype) for k in (3, 5)
    }
    project_in = project_in.astype(x.dtype)
    mix = _mix_shifted if self.ways.local == "shifted" else _mix
    mixed = mix(self.ways, x, project_in, kernels, pairs)
    return Convolution(channels, self.ways, window=1, name="project_out")(mixed)


def _mix(ways: Ways, x: Array, project_in: Array, kernels: dict, pairs: dict) -> Array:
  """Maps [B, H, W, C] to the 2 h mixed channels, h those of a pair kernel [k, k, 2, h]."""
  hidden = pairs[3].shape[-1]
  y = jnp.matmul(x, project_in)
  fine, coarse = (nn.relu(depthwise(ways, y, kernels[k])) for k in (3, 5))
  mixed = []
  for half, k in ((slice(0, hidden), 3), (slice(hidden, 2 * hidden), 5)):
    both = jnp.concatenate([fine[..., half], coarse[..., half]], -1)
    # A convolution in groups of two inputs, without what XLA makes of it on a CPU.
    mixed.append(
      nn.relu(sum(depthwise(ways, both[..., i::2], pairs[k][:, :, i]) for i in range(2)))
    )
  return jnp.concatenate(mixed, -1)


def _mix_shifted(ways: Ways, x: Array, project_in: Array, kernels: dict, pairs: dict) -> Array:
  """`_mix` with channels in an order in which the first and second of all pairs lie together.

  Pair g consists of channels 2 g and 2 g + 1 of fine and coarse channels side by side; so the first
  ones are the even fine channels, then the coarse channels of the parity of h.
  """
  hidden = pairs[3].shape[-1]
  even, odd = np.arange(0, hidden, 2), np.arange(1, hidden, 2)
  order = np.concatenate([even, odd, hidden + even, hidden + odd])
  y = jnp.matmul(x, project_in[:, order])
  fine, coarse = (nn.relu(depthwise(ways, y, kernels[k][..., order])) for k in (3, 5))
  mixed = []
  for start, k in ((0, 3), (hidden, 5)):
    middle, end = start + len(even), start + hidden
    parts = (slice(start, middle), slice(middle, end))
    others = parts[::-1] if hidden % 2 else parts
    mixed.append(
      nn.relu(
        sum(
          depthwise(
            ways, jnp.concatenate([fine[..., own], coarse[..., other]], -1), pairs[k][:, :, i]
          )
          for i, (own, other) in enumerate(zip(parts, others, strict=True))
        )
      )
    )
  return jnp.concatenate(mixed, -1)
