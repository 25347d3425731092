"""Operations on maps [B, H, W, C] with few passes over memory and few messages between devices."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.operations import sampling
from cfi_jax.systems.isfuse.operations.plain import EPSILON, LEAK, Moments, Plain, per_channel

SPARSE = 16  # every so many rows and columns are looked at before the statistics are taken


@dataclasses.dataclass(frozen=True)
class Fused(Plain):
  """BatchNorm and LeakyReLU, and the gate and what it mixes, as functions with their own gradient.

  The statistics take one pass and one message between devices, their gradient another of each.
  Several pixels may lie side by side in the last axis, [..., k * C]: they are one channel's.
  """

  def block(
    self, x: Array, kernel: Array, bias: Array, scale: Array, offset: Array, given: Moments | None
  ) -> tuple[Array, Moments]:
    """See `Plain.block`."""
    y = self.convolve(x, kernel, bias)
    if given is None:
      z, mean, var = normalise(y, bias, scale, offset)
      return z, (mean, var)
    return _activate(y, *given, scale, offset), given

  def grid(self, x: Array, side: int) -> Array:
    """See `Plain.grid`."""
    return sampling.grid(x, side)

  def halve(self, x: Array) -> Array:
    """See `Plain.halve`."""
    return sampling.halve(x)

  def enlarge(self, x: Array, skip: Array) -> Array:
    """See `Plain.enlarge`."""
    return sampling.enlarge(x, skip)

  def _narrow(self, x: Array, kernel: Array, bias: Array) -> Array:
    # A weighted sum fuses with the activation before it, unlike a product of matrices.
    exact = x.astype(statistics_dtype(self.dtype))
    return (exact * per_channel(kernel)).sum(-1, keepdims=True) + per_channel(bias)

  def _blend(self, *maps: Array) -> tuple[Array, Array]:
    return blend(*maps)


@jax.custom_vjp
def blend(
  logits: Array, complementary: Array, visible: Array, infrared: Array
) -> tuple[Array, Array]:
  """(gate, gate * complementary + (1 - gate) * (visible + infrared)); gate: sigmoid(logits).

  logits: [B, h, w, k] for maps [B, h, w, k * C], one for each of k pixels side by side.
  """
  gate = nn.sigmoid(logits)
  weight = _for_channels(gate.astype(complementary.dtype), complementary.shape[-1])
  return gate, weight * complementary + (1 - weight) * (visible + infrared)


def _for_channels(gate: Array, channels: int) -> Array:
  """[..., k] as [..., channels]: a product gives every pixel's value to its channels."""
  pixels = gate.shape[-1]
  if pixels == 1:
    return jnp.broadcast_to(gate, (*gate.shape[:-1], channels))
  matrix = np.kron(np.eye(pixels), np.ones((1, channels // pixels)))
  highest = jax.lax.Precision.HIGHEST
  return jnp.matmul(gate, jnp.asarray(matrix, gate.dtype), precision=highest)


def _blend_forward(*arrays: Array) -> tuple:
  gate, mixed = blend(*arrays)
  return (gate, mixed), (gate, *arrays[1:])


def _blend_backward(saved: tuple, cotangents: tuple) -> tuple:
  gate, complementary, visible, infrared = saved
  d_gate, d_mixed = cotangents
  channels = complementary.shape[-1]
  weight = _for_channels(gate.astype(complementary.dtype), channels)
  along = d_mixed.astype(gate.dtype) * (complementary.astype(gate.dtype) - visible - infrared)
  (of_pixels,) = jax.linear_transpose(lambda x: _for_channels(x, channels), gate)(along)
  local = (1 - weight) * d_mixed
  each = (local if len(x) == len(local) else _batch_sum(local) for x in (visible, infrared))
  return (d_gate + of_pixels) * gate * (1 - gate), weight * d_mixed, *each


def _batch_sum(x: Array) -> Array:
  return x.astype(statistics_dtype(x.dtype)).sum(0, keepdims=True).astype(x.dtype)


blend.defvjp(_blend_forward, _blend_backward)


def batch_moments(y: Array, near: Array) -> Moments:
  """`plain.batch_moments` of [..., k * C] in one pass and one message.

  near: [C], of the size of the means, equal on all devices.
  """
  channels = near.shape[0]
  # Distances from a mean of few pixels: nothing cancels, and of a constant map all are exactly 0.
  pilot = _mean(y[:, ::SPARSE, ::SPARSE], channels)
  distance = y.astype(pilot.dtype) - _spread(pilot, y)
  shift, square = _mean(distance, channels), _mean(jnp.square(distance), channels)
  return sharding.moments(pilot + shift, square - jnp.square(shift), near)


def _mean(x: Array, channels: int) -> Array:
  """[..., k * C] averaged over all pixels, in at least float32."""
  exact = x.astype(statistics_dtype(x.dtype))
  return exact.mean(tuple(range(x.ndim - 1))).reshape(-1, channels).mean(0)


def _sum(x: Array, channels: int) -> Array:
  return x.sum(tuple(range(x.ndim - 1))).reshape(-1, channels).sum(0)


def _spread(vector: Array, like: Array) -> Array:
  """[C] for every pixel of [..., k * C]."""
  return per_channel(jnp.tile(vector, like.shape[-1] // vector.shape[0]))


def _activate(y: Array, mean: Array, var: Array, scale: Array, offset: Array) -> Array:
  """BatchNorm by given moments, then LeakyReLU."""
  gain = scale / jnp.sqrt(var + EPSILON)
  exact = y.astype(statistics_dtype(y.dtype))
  normal = ((exact - _spread(mean, y)) * _spread(gain, y) + _spread(offset, y)).astype(y.dtype)
  return jnp.where(normal > 0, normal, LEAK * normal)


@jax.custom_vjp
def normalise(y: Array, near: Array, scale: Array, offset: Array) -> tuple[Array, Array, Array]:
  """(BatchNorm by the batch's moments and LeakyReLU of [..., k * C], mean [C], variance [C])."""
  return _forward(y, near, scale, offset)[0]


def _forward(y: Array, near: Array, scale: Array, offset: Array) -> tuple:
  mean, var = batch_moments(y, jax.lax.stop_gradient(near.astype(statistics_dtype(y.dtype))))
  return (_activate(y, mean, var, scale, offset), mean, var), (y, mean, var, scale, offset)


def _backward(saved: tuple, cotangents: tuple) -> tuple:
  y, mean, var, scale, offset = saved
  d_z, d_mean, d_var = cotangents
  spread = functools.partial(_spread, like=y)
  inverse = 1 / jnp.sqrt(var + EPSILON)
  gain = scale * inverse
  distance = y.astype(mean.dtype) - spread(mean)
  # As the activation saw it, rounded to the maps' dtype.
  is_positive = (distance * spread(gain) + spread(offset)).astype(y.dtype) > 0
  d_normal = d_z.astype(mean.dtype) * jnp.where(is_positive, 1, LEAK)
  d_offset = _sum(d_normal, mean.shape[0])
  along = _sum(d_normal * distance, mean.shape[0])
  # The moments are those of all devices' pixels: one message, and what parameters get stays here.
  count = y.size // mean.shape[0] * sharding.count()
  sums = sharding.total(jnp.stack([d_offset, along, d_mean, d_var])) / count
  level = sums[2] - gain * sums[0]
  slope = 2 * sums[3] - gain * jnp.square(inverse) * sums[1]
  d_y = spread(gain) * d_normal + spread(level) + spread(slope) * distance
  return (
    d_y.astype(y.dtype),
    jnp.zeros_like(scale),
    (along * inverse).astype(scale.dtype),
    d_offset.astype(offset.dtype),
  )


normalise.defvjp(_forward, _backward)
