"""Self-attention among pixels that are sorted by value (dynamic-range histogram self-attention)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.amgfuse.layers import (
  EXACT,
  Depthwise,
  Feedforward,
  LayerNorm,
  Pointwise,
)
from cfi_jax.systems.amgfuse.ways import Ways

LEAST = 1e-12  # norm that a query or key is divided by
SIDE_BY_SIDE = 4  # sorts that a computer with several cores does at once


class Permutation(NamedTuple):
  """Indices that put the last axis in order, and those that put it back, int32."""

  order: Array
  inverse: Array


def ascending(ways: Ways, x: Array) -> Permutation:
  """Order of the last axis, ascending and stable; no gradient flows through it."""
  x = jax.lax.stop_gradient(x)
  if ways.sorting == "pairs" or x.dtype == jnp.float64:
    order = jnp.argsort(x, axis=-1)
    return Permutation(order, jnp.argsort(order, axis=-1))
  order = _sort_packed(x)
  rows = order.reshape(-1, order.shape[-1])
  # Where an element came from: a pass over memory, where a second sort would take as long again.
  starts = jnp.arange(len(rows), dtype=rows.dtype)[:, None] * rows.shape[1]
  places = jax.lax.broadcasted_iota(rows.dtype, rows.shape, 1).reshape(-1)
  inverse = jnp.zeros_like(places).at[(rows + starts).reshape(-1)]
  inverse = inverse.set(places, unique_indices=True, mode="promise_in_bounds")
  return Permutation(order, inverse.reshape(order.shape))


def _sort_packed(x: Array) -> Array:
  """The order of the last axis by sorts of 64-bit numbers: an element's value, then its index.

  XLA's CPU compiler calls the standard library for a sort of numbers alone, and its own slow
  comparison for numbers with indices. Sorts of parts of the rows run side by side.
  """
  # Both zeros are equal; of the bits of numbers below zero the order is the reverse.
  bits = jax.lax.bitcast_convert_type(jnp.where(x == 0, 0, x).astype(jnp.float32), jnp.uint32)
  bits = jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))
  with jax.enable_x64(True):
    keys = (bits.astype(jnp.uint64) << 32) | jax.lax.broadcasted_iota(
      jnp.uint64, x.shape, x.ndim - 1
    )
    parts = jnp.array_split(keys.reshape(-1, x.shape[-1]), SIDE_BY_SIDE)
    keys = jnp.concatenate([jax.lax.sort(part, is_stable=False) for part in parts])
    return (keys & jnp.uint64(0xFFFFFFFF)).astype(jnp.int32).reshape(x.shape)


def binned(permutation: Permutation, count: int, *, strided: bool) -> Permutation:
  """The permutation into `count` bins of equal length, one after the other, zeros after the end.

  A bin is a run of what is sorted or, strided, every count-th element.
  """
  order, inverse = permutation
  pixels = order.shape[-1]
  length = -(-pixels // count)
  short = [(0, 0)] * (order.ndim - 1) + [(0, length * count - pixels)]
  order = jnp.pad(order, short, constant_values=pixels)
  if strided:
    order = order.reshape(*order.shape[:-1], length, count).swapaxes(-1, -2).reshape(order.shape)
    inverse = inverse % count * length + inverse // count
  return Permutation(order, inverse)


def move(x: Array, permutation: Permutation) -> Array:
  """Takes x[order] along the last axis, 0 beyond its end. Gradients go the same way back."""
  return _permute(x, permutation.order, permutation.inverse)


def move_back(x: Array, permutation: Permutation) -> Array:
  """Inverts `move`."""
  return _permute(x, permutation.inverse, permutation.order)


@jax.custom_vjp
def _permute(x: Array, order: Array, inverse: Array) -> Array:
  """Gathers; the gradient gathers by the inverse, where that of a gather would scatter."""
  return _take(x, order, inverse.shape[-1] < order.shape[-1])


def _take(x: Array, order: Array, beyond: bool) -> Array:
  """x[order] along the last axis; beyond: whether some of the order is, where x counts as 0."""
  if beyond:
    return jnp.take_along_axis(x, order, -1, mode="fill", fill_value=0)
  return jnp.take_along_axis(x, order, -1, mode="promise_in_bounds")


def _permute_forward(x: Array, order: Array, inverse: Array) -> tuple[Array, tuple[Array, Array]]:
  return _permute(x, order, inverse), (order, inverse)


def _permute_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, None, None]:
  order, inverse = saved
  return _take(gradient, inverse, order.shape[-1] < inverse.shape[-1]), None, None


_permute.defvjp(_permute_forward, _permute_backward)


def norm(x: Array) -> Array:
  """Euclidean norm of the last axis, kept as an axis of one, at least `LEAST`; safe at 0."""
  total = jnp.square(x).sum(-1, keepdims=True)
  positive = total > 0
  return jnp.where(positive, jnp.maximum(jnp.sqrt(jnp.where(positive, total, 1)), LEAST), LEAST)


def attention_scores(ways: Ways, query: Array, key: Array, temperature: Array) -> Array:
  """Cosines of rows [B, heads, C, M] of queries and keys, times a temperature [heads]."""
  exact = ways.exact
  temperature = temperature.astype(exact).reshape(1, -1, 1, 1)
  norms = [norm(x.astype(exact)) for x in (query, key)]
  if ways.histogram == "scaled":
    query, key = (
      (x.astype(exact) / n).astype(x.dtype) for x, n in zip((query, key), norms, strict=True)
    )
  gram = jnp.einsum("bgcm,bgdm->bgcd", query, key, precision=EXACT, preferred_element_type=exact)
  if ways.histogram == "gram":
    # One after the other: the product of both norms could underflow.
    gram = gram * (1 / norms[0]) * (1 / norms[1]).swapaxes(-1, -2)
  return gram * temperature


class HistogramAttention(nn.Module):
  """Attention over bins of pixels of similar value, in two layouts that are multiplied (DHSA).

  heads: also the number of bins; divides the channels, which are even.
  """

  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of planes [B, C, H, W]."""
    batch, channels, height, width = x.shape
    ones, dtype = nn.initializers.ones, self.ways.param_dtype
    temperature = self.param("temperature", ones, (self.heads,), dtype)
    first, rest = jnp.split(x, 2, 1)
    first = first.swapaxes(2, 3)
    rows = ascending(self.ways, first)
    first = move(first, rows).swapaxes(2, 3)
    columns = ascending(self.ways, first)
    x = jnp.concatenate([move(first, columns), rest], 1)
    x = Pointwise(5 * channels, self.ways, name="expand")(x)
    x = Depthwise(self.ways, planes=True, name="local")(x)
    *queries_and_keys, value = (
      part.squeeze(1) for part in jnp.split(x.reshape(batch, 5, channels, -1), 5, 1)
    )
    order, x = ascending(self.ways, value), 1
    for i, strided in ((0, False), (2, True)):
      own = binned(order, self.heads, strided=strided)
      attended = self._attend(*queries_and_keys[i : i + 2], value, own, temperature)
      x = x * move_back(attended, own)
    x = x.reshape(batch, channels, height, width)
    first, rest = jnp.split(Pointwise(channels, self.ways, name="project_out")(x), 2, 1)
    first = move_back(move_back(first, columns).swapaxes(2, 3), rows).swapaxes(2, 3)
    return jnp.concatenate([first, rest], 1)

  def _attend(
    self, query: Array, key: Array, value: Array, order: Permutation, temperature: Array
  ) -> Array:
    """Attention [B, C, bins] among rows of a head, which are its channels' bins."""
    batch, channels, _ = value.shape
    rows = (batch, self.heads, channels, -1)
    query, key, value = (move(x, order).reshape(rows) for x in (query, key, value))
    weights = jnp.exp(attention_scores(self.ways, query, key, temperature))
    weights = (weights / (1 + weights.sum(-1, keepdims=True))).astype(value.dtype)
    attended = jnp.einsum("bgcd,bgdm->bgcm", weights, value, precision=EXACT)
    return attended.reshape(batch, channels, -1)


class Block(nn.Module):
  """x + attention(norm(x)), then x + feedforward(norm(x)), of planes [B, C, H, W]."""

  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape."""
    normal = LayerNorm(self.ways, name="norm1")(x)
    x = x + HistogramAttention(self.heads, self.ways, name="attention")(normal)
    normal = LayerNorm(self.ways, name="norm2")(x)
    return x + Feedforward(self.ways, name="feedforward")(normal)


class Blocks(nn.Module):
  """`count` blocks, one after the other.

  They compute on planes: sorting runs along the pixels of a channel.
  """

  count: int
  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map [B, H, W, C]."""
    x = x.transpose(0, 3, 1, 2)
    for i in range(self.count):
      x = Block(self.heads, self.ways, name=f"block{i}")(x)
    return x.transpose(0, 2, 3, 1)
