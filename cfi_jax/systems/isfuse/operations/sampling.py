"""Pooling and resizing of maps in one pass each way, without tables of indices or matrices."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype


@jax.custom_vjp
def halve(x: Array) -> Array:
  """2x2 max pooling of [B, H, W, C], sizes rounded down; ties give their gradient to the first."""
  return nn.max_pool(x, (2, 2), (2, 2))


def _halve_forward(x: Array) -> tuple[Array, Array]:
  return halve(x), x


def _halve_backward(x: Array, d_out: Array) -> tuple[Array]:
  batch, height, width, channels = d_out.shape
  even = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
  quarters = [even[:, :, i, :, j] for i in range(2) for j in range(2)]
  largest = jnp.maximum(jnp.maximum(*quarters[:2]), jnp.maximum(*quarters[2:]))
  shares, is_open = [], True
  for quarter in quarters:
    is_here = is_open & (quarter == largest)
    is_open = is_open & (quarter < largest)
    shares.append(jnp.where(is_here, d_out, jnp.zeros((), d_out.dtype)))
  rows = [jnp.stack(shares[i : i + 2], 3) for i in (0, 2)]
  d_even = jnp.stack(rows, 2).reshape(batch, 2 * height, 2 * width, channels)
  rest = [(0, 0), (0, x.shape[1] - 2 * height), (0, x.shape[2] - 2 * width), (0, 0)]
  return (jnp.pad(d_even, rest),)


halve.defvjp(_halve_forward, _halve_backward)


def grid(x: Array, side: int) -> Array:
  """`ops.average_pool` of [B, H, W, C]; of a grid that divides the map as plain means."""
  batch, height, width, channels = x.shape
  if height % side or width % side:
    return ops.average_pool(x, side)
  cells = x.reshape(batch, side, height // side, side, width // side, channels)
  return cells.astype(statistics_dtype(x.dtype)).mean((2, 4)).astype(x.dtype)


def enlarge(x: Array, skip: Array) -> Array:
  """`skip` plus `x` resized to its size as by `ops.resize`; to twice as large in one pass."""
  height, width = skip.shape[1:3]
  if (height, width) != (2 * x.shape[1], 2 * x.shape[2]):
    return ops.resize(x, height, width) + skip
  exact = x.astype(statistics_dtype(x.dtype))
  return (_double(_double(exact, 1), 2) + skip).astype(x.dtype)


def _double(x: Array, axis: int) -> Array:
  """Bilinear interpolation of an axis to twice its length, the border repeated."""
  first, last = (jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, 1), (-1, None)))
  before, after = (jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, -1), (1, None)))
  before = jnp.concatenate([first, before], axis)
  after = jnp.concatenate([after, last], axis)
  phases = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
  return phases.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
