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


def depthwise(ways: Ways, x: Array, kernel: Array, *, planes: bool = False) -> Array:
  """Convolution of every channel with its own kernel [k, k, C], zeros outside, same size.

  planes: whether the map is [B, C, H, W].
  """
  kernel = kernel.astype(x.dtype)
  if ways.local == "shifted":
    return _shifted(x, kernel, planes)
  if planes:  # which XLA's CPU convolutions in groups take minutes for
    return depthwise(ways, x.transpose(0, 2, 3, 1), kernel).transpose(0, 3, 1, 2)
  return convolve(x, kernel[:, :, None], x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _shifted(x: Array, kernel: Array, planes: bool) -> Array:
  """Depthwise convolution as a sum of shifted products."""
  return _products(x, kernel, planes)


@functools.partial(jax.jit, static_argnums=2)  # traced once for each shape, which are few
def _products(x: Array, kernel: Array, planes: bool) -> Array:
  padded, (rows, columns) = _pad(x, len(kernel), planes)
  shape, total = (1, -1, 1, 1) if planes else (1, 1, 1, -1), 0
  for i, j in np.ndindex(kernel.shape[:2]):
    across = jax.lax.slice_in_dim(padded, i, i + x.shape[rows], axis=rows)
    part = jax.lax.slice_in_dim(across, j, j + x.shape[columns], axis=columns)
    total = total + kernel[i, j].reshape(shape) * part
  return total


@functools.partial(jax.jit, static_argnums=3)
def _of_kernel(x: Array, kernel: Array, gradient: Array, planes: bool) -> Array:
  """The gradient with respect to the kernel; a loop over taps compiles in half the time."""
  padded, (rows, columns) = _pad(x, len(kernel), planes)
  pixels = (0, rows, columns)

  def tap(place: Array) -> Array:
    starts = [0] * x.ndim
    starts[rows], starts[columns] = place
    return (jax.lax.dynamic_slice(padded, starts, x.shape) * gradient).sum(pixels)

  places = jnp.asarray(list(np.ndindex(kernel.shape[:2])))
  return jax.lax.map(tap, places).reshape(kernel.shape)


def _pad(x: Array, size: int, planes: bool) -> tuple[Array, tuple[int, int]]:
  """A map with zeros around it, as a window of that size needs them, and the axes of its pixels."""
  pixels = (2, 3) if planes else (1, 2)
  around = [(size // 2,) * 2 if axis in pixels else (0, 0) for axis in range(x.ndim)]
  return jnp.pad(x, around), pixels


def _shifted_forward(x: Array, kernel: Array, planes: bool) -> tuple[Array, tuple[Array, Array]]:
  return _shifted(x, kernel, planes), (x, kernel)


def _shifted_backward(
  planes: bool, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
  x, kernel = saved
  of_input = _products(gradient, kernel[::-1, ::-1], planes)
  return of_input, _of_kernel(x, kernel, gradient, planes)


_shifted.defvjp(_shifted_forward, _shifted_backward)


class Convolution(nn.Module):
  """Convolution with a square window, or of single pixels; zeros outside, same size.

  zero: whether its kernel is 0 before training.
  """

  features: int
  ways: Ways
  window: int = 3
  bias: bool = False
  zero: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps a map to one of `features` channels."""
    inputs, dtype = x.shape[-1], self.ways.param_dtype
    start = nn.initializers.zeros if self.zero else bound
    if self.window == 1:
      kernel = self.param("kernel", start, (inputs, self.features), dtype)
      return jnp.matmul(x, kernel.astype(x.dtype))
    shape = (self.window, self.window, inputs, self.features)
    y = convolve(x, self.param("kernel", start, shape, dtype))
    if not self.bias:
      return y
    same = nn.initializers.constant((self.window**2 * inputs) ** -0.5)
    bias = self.param("bias", same, (self.features,), dtype)
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


class Reduce(nn.Module):
  """Halves the channels, pixel by pixel."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, C/2]."""
    return Convolution(x.shape[-1] // 2, self.ways, window=1, name="conv")(x)


class Output(nn.Module):
  """Makes an image of a map; zero: whether it is 0 before training."""

  channels: int
  zero: bool
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] -> [B, H, W, channels]."""
    return Convolution(self.channels, self.ways, zero=self.zero, name="conv")(x)


class Pointwise(nn.Module):
  """Mixes the channels of every pixel of planes [B, C, H, W]."""

  features: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, C, H, W] -> [B, features, H, W]."""
    kernel = self.param("kernel", bound, (x.shape[1], self.features), self.ways.param_dtype)
    return mix_planes(x, kernel)


def mix_planes(x: Array, kernel: Array) -> Array:
  """Products [B, D, H, W] of the channels of planes [B, C, H, W] with a kernel [C, D].

  No map is transposed on the way, but for whole planes in batches.
  """
  return jnp.einsum("cd,bchw->dbhw", kernel.astype(x.dtype), x).swapaxes(0, 1)


class Depthwise(nn.Module):
  """Depthwise convolution with a square window; planes: whether of maps [B, C, H, W]."""

  ways: Ways
  window: int = 3
  planes: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    kernel = depthwise_kernel(self, self.window, x.shape[1 if self.planes else -1])
    return depthwise(self.ways, x, kernel, planes=self.planes)


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
  """Normalises every pixel of planes [B, C, H, W] over its channels, with scale and bias."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape and dtype."""
    channels, exact = (x.shape[1],), self.ways.exact
    scale = self.param("scale", nn.initializers.ones, channels, self.ways.param_dtype)
    bias = self.param("bias", nn.initializers.zeros, channels, self.ways.param_dtype)
    wide = x.astype(exact)
    centred = wide - wide.mean(1, keepdims=True)
    variance = jnp.square(centred).mean(1, keepdims=True)
    normal = centred / jnp.sqrt(variance + EPSILON)
    scale, bias = (w.astype(exact).reshape(1, -1, 1, 1) for w in (scale, bias))
    return (normal * scale + bias).astype(x.dtype)


class Feedforward(nn.Module):
  """Mixes channels between two scales of neighbourhoods, 3x3 and 5x5 (MSFN)."""

  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of planes [B, C, H, W]."""
    channels, dtype = x.shape[1], self.ways.param_dtype
    hidden = int(2.66 * channels)
    y = mix_planes(x, self.param("project_in", bound, (channels, 2 * hidden), dtype))
    kernels = {k: depthwise_kernel(self, k, 2 * hidden, f"local{k}") for k in (3, 5)}
    pairs = {k: self.param(f"pairs{k}", bound, (k, k, 2, hidden), dtype) for k in (3, 5)}
    local = functools.partial(depthwise, self.ways, planes=True)
    fine, coarse = (nn.relu(local(y, kernels[k])) for k in (3, 5))
    mixed = []
    for half, k in ((slice(0, hidden), 3), (slice(hidden, 2 * hidden), 5)):
      both = jnp.concatenate([fine[:, half], coarse[:, half]], 1)
      # A convolution in groups of two inputs, without what XLA makes of it on a CPU.
      mixed.append(nn.relu(sum(local(both[:, i::2], pairs[k][:, :, i]) for i in range(2))))
    return Pointwise(channels, self.ways, name="project_out")(jnp.concatenate(mixed, 1))
