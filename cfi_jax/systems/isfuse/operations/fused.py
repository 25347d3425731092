"""Operations on maps [B, H, W, C] with few passes over memory and few messages between devices."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

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

  def mix(
    self,
    x: Array,
    kernel: Array,
    bias: Array,
    complementary: Array,
    visible: Array,
    infrared: Array,
  ) -> tuple[Array, Array]:
    """See `Plain.mix`."""
    exact = statistics_dtype(self.dtype)
    if kernel.ndim == 4:
      logits = self.head(x, kernel, bias).astype(exact)
    else:
      logits = (x.astype(exact) * per_channel(kernel)).sum(-1, keepdims=True) + per_channel(bias)
    return blend(logits, complementary, visible, infrared)


@jax.custom_vjp
def blend(
  logits: Array, complementary: Array, visible: Array, infrared: Array
) -> tuple[Array, Array]:
  """The gate, sigmoid of [B, h, w, 1], and what it mixes; see `Plain.mix`."""
  gate = nn.sigmoid(logits)
  weight = gate.astype(complementary.dtype)
  return gate, weight * complementary + (1 - weight) * (visible + infrared)


def _blend_forward(*arrays: Array) -> tuple:
  gate, mixed = blend(*arrays)
  return (gate, mixed), (gate, *arrays[1:])


def _blend_backward(saved: tuple, cotangents: tuple) -> tuple:
  gate, complementary, visible, infrared = saved
  d_gate, d_mixed = (x.astype(gate.dtype) for x in cotangents)
  difference = complementary.astype(gate.dtype) - visible - infrared
  d_gate = d_gate + (d_mixed * difference).sum(-1, keepdims=True)
  local = (1 - gate) * d_mixed
  d_local = (local if len(x) == len(local) else local.sum(0, keepdims=True) for x in saved[2:])
  gradients = (gate * d_mixed, *d_local)
  return d_gate * gate * (1 - gate), *(
    g.astype(x.dtype) for g, x in zip(gradients, saved[1:], strict=True)
  )


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
  own_mean, own_var = pilot + shift, square - jnp.square(shift)
  if sharding.count() == 1:
    return own_mean, own_var
  from_near = own_mean - near
  from_near, square, var = sharding.mean(jnp.stack([from_near, jnp.square(from_near), own_var]))
  return near + from_near, var + jnp.maximum(square - jnp.square(from_near), 0)


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
