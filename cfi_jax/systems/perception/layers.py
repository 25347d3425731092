"""Blocks of the network, [B, H, W, C]."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array

GROUPS = 4  # of channels that are normalised together; no statistics are kept between samples


def norm(dtype: jnp.dtype) -> nn.GroupNorm:
  """Group normalisation, whose values depend on one sample alone."""
  return nn.GroupNorm(GROUPS, dtype=dtype)


class Residual(nn.Module):
  """x + conv(relu(norm(conv(relu(norm(x)))))), [B, H, W, channels] to the same."""

  channels: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """The block; its second convolution begins small."""
    small = nn.initializers.variance_scaling(0.1, "fan_in", "normal")
    hidden = nn.relu(norm(self.dtype)(x))
    hidden = nn.Conv(self.channels, (3, 3), use_bias=False, dtype=self.dtype)(hidden)
    hidden = nn.relu(norm(self.dtype)(hidden))
    return x + nn.Conv(self.channels, (3, 3), kernel_init=small, dtype=self.dtype)(hidden)


class Level(nn.Module):
  """A convolution, which halves the size where `stride` is 2, and a residual block."""

  channels: int
  stride: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, H, W, C] to [B, H / stride, W / stride, channels]."""
    x = nn.Conv(self.channels, (3, 3), self.stride, dtype=self.dtype)(x)
    return Residual(self.channels, self.dtype)(x)


class Decoder(nn.Module):
  """From the coarsest features to the finest; each level joins those of its size."""

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, features: tuple[Array, ...]) -> tuple[Array, ...]:
    """Features, finest first, to decoded ones of the same shapes."""
    x = features[-1]
    decoded = [x]
    for own in features[-2::-1]:
      channels = own.shape[-1]
      x = nn.Conv(channels, (1, 1), dtype=self.dtype)(double(x))
      x = nn.Conv(channels, (1, 1), dtype=self.dtype)(jnp.concatenate([x, own], -1))
      x = Residual(channels, self.dtype)(x)
      decoded.append(x)
    return tuple(decoded[::-1])


class Sum(nn.Module):
  """The sum of both features, each after a projection, and a residual step of two projections.

  It has the parameters of `Special` in number: 4 C^2 + 4 C.
  """

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, visible: Array, infrared: Array) -> tuple[Array, Array]:
    """Two features [B, H, W, C] to one, and 0 for each sample: nothing is predicted."""
    channels = visible.shape[-1]
    joint = sum(nn.Dense(channels, dtype=self.dtype)(x) for x in (visible, infrared))
    hidden = nn.relu(nn.Dense(channels, dtype=self.dtype)(joint))
    fused = joint + nn.Dense(channels, dtype=self.dtype)(hidden)
    return fused, jnp.zeros(len(visible))


class Special(nn.Module):
  """The part of the features that the other modality predicts, averaged; the rest, gated. Ours.

    p_v = W_v f_i + b_v            what the infrared features tell of the visible ones
    fused = (p_v + p_i) / 2 + s (g (f_v - p_v) + (1 - g) (f_i - p_i))
    g = sigmoid(W_g [f_v - p_v, f_i - p_i] + b_g)

  W_v, b_v, W_i, b_i learn to predict alone (`prediction error`), not from the task; s is a factor
  per channel that begins at 1.
  """

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, visible: Array, infrared: Array) -> tuple[Array, Array]:
    """Two features [B, H, W, C] to one, and the prediction error of each sample [B].

    The error is the squared one over the features' variance, the mean of both directions: 0 where
    each modality tells all of the other, 1 where it tells nothing.
    """
    channels = visible.shape[-1]
    init = nn.initializers.lecun_normal(batch_axis=0)
    kernels = self.param("predictors", init, (2, channels, channels))
    biases = self.param("biases", nn.initializers.zeros, (2, channels))
    scale = self.param("scale", nn.initializers.ones, (channels,))
    parts, rests, errors = [], [], []
    for own, other, kernel, bias in zip(
      (visible, infrared), (infrared, visible), kernels, biases, strict=True
    ):
      part = _predict(other, *jax.lax.stop_gradient((kernel, bias)))
      learnt = _predict(jax.lax.stop_gradient(other), kernel, bias)
      errors.append(_unexplained(jax.lax.stop_gradient(own), learnt))
      parts.append(part)
      rests.append(own - part)
    gate = nn.sigmoid(nn.Dense(channels, dtype=self.dtype)(jnp.concatenate(rests, -1)))
    rest = gate * rests[0] + (1 - gate) * rests[1]
    fused = (parts[0] + parts[1]) / 2 + _along(scale, rest) * rest
    return fused, (errors[0] + errors[1]) / 2


class Concatenation(nn.Module):
  """Both features side by side, and a perceptron of two hidden layers at every pixel.

    fused = s W_3 relu(W_2 relu(W_1 [f_v, f_i]))        (biases left out here)

  The linear map of features side by side is a sum of projections, which is what `Sum` begins with:
  here nothing passes but what the perceptron makes of both. s is a factor per channel that begins
  at 1. It has the parameters of `Special` in number.
  """

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, visible: Array, infrared: Array) -> tuple[Array, Array]:
    """Two features [B, H, W, C] to one, and 0 for each sample: nothing is predicted."""
    channels = visible.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    x = jnp.concatenate([visible, infrared], -1)
    for _ in range(2):
      x = nn.relu(nn.Dense(channels, dtype=self.dtype)(x))
    x = nn.Dense(channels, dtype=self.dtype)(x)
    return _along(scale.astype(x.dtype), x) * x, jnp.zeros(len(visible))


class SqueezeExcitation(nn.Module):
  """The sum of both features, each channel with a gate that the whole image decides.

    [e_v, e_i] = sigmoid(W_2 relu(W_1 mean([f_v, f_i])))        (biases left out here)
    fused = s (e_v f_v + e_i f_i)

  The mean is over all pixels. The gates are those of Hu et al. 2018 (Squeeze-and-Excitation
  Networks, reduction 2). s is a factor per channel that begins at 1. It has the parameters of
  `Special` in number.
  """

  dtype: jnp.dtype

  @nn.compact
  def __call__(self, visible: Array, infrared: Array) -> tuple[Array, Array]:
    """Two features [B, H, W, C] to one, and 0 for each sample: nothing is predicted."""
    channels = visible.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    squeezed = jnp.concatenate([visible, infrared], -1).mean((1, 2), keepdims=True)
    hidden = nn.relu(nn.Dense(channels, dtype=self.dtype)(squeezed))
    gates = nn.sigmoid(nn.Dense(2 * channels, dtype=self.dtype)(hidden))
    x = gates[..., :channels] * visible + gates[..., channels:] * infrared
    return _along(scale.astype(x.dtype), x) * x, jnp.zeros(len(visible))


def _predict(x: Array, kernel: Array, bias: Array) -> Array:
  y = x @ kernel.astype(x.dtype)
  return y + _along(bias.astype(x.dtype), y)


def _along(values: Array, like: Array) -> Array:
  """Values per channel [C] with the rank of `like` [..., C]."""
  return values.reshape((1,) * (like.ndim - 1) + (-1,))


def _unexplained(own: Array, predicted: Array) -> Array:
  """Squared error over the variance around the channel's mean, per sample [B]."""
  own, predicted = own.astype(jnp.float32), predicted.astype(jnp.float32)
  around = own - own.mean((1, 2), keepdims=True)
  variance = jnp.square(around).mean((1, 2, 3))
  return jnp.square(own - predicted).mean((1, 2, 3)) / (variance + 1e-3)


def double(x: Array) -> Array:
  """Twice the height and width, each pixel repeated."""
  batch, height, width, channels = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
  return x.reshape(batch, 2 * height, 2 * width, channels)
