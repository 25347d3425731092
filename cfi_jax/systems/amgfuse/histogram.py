"""Self-attention among pixels that are sorted by value (dynamic-range histogram self-attention)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.amgfuse.layers import (
  EXACT,
  Convolution,
  Depthwise,
  Feedforward,
  LayerNorm,
)
from cfi_jax.systems.amgfuse.ways import Ways

LEAST = 1e-12  # norm that a query or key is divided by


def sort(x: Array, axis: int) -> tuple[Array, Array]:
  """Sorts ascending and stable; returns also the index of every element before."""
  order = jnp.argsort(x, axis=axis)
  return move(x, order, axis), order


def move(x: Array, order: Array, axis: int) -> Array:
  """Takes x[order] along an axis; order is a permutation. Gradients go the same way back."""
  return _permute(x, order, jnp.argsort(order, axis=axis), axis)


def move_back(x: Array, order: Array, axis: int) -> Array:
  """Inverts `move`."""
  return _permute(x, jnp.argsort(order, axis=axis), order, axis)


def _permute(x: Array, order: Array, inverse: Array, axis: int) -> Array:
  """Gathers; the gradient gathers by the inverse, where that of a gather would scatter."""

  @jax.custom_vjp
  def permute(x: Array, order: Array, inverse: Array) -> Array:
    del inverse
    return jnp.take_along_axis(x, order, axis)

  def backward(inverse: Array, gradient: Array) -> tuple[Array, None, None]:
    return jnp.take_along_axis(gradient, inverse, axis), None, None

  permute.defvjp(lambda x, o, i: (permute(x, o, i), i), backward)
  return permute(x, order, inverse)


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


def bins(x: Array, count: int, strided: bool) -> Array:
  """[B, C, N] -> rows [B, count, C, M] of `count` heads and `count` bins, zeros after the end.

  Row (c, s) of a head's channel c and bin s is a run of pixels, or strided: every count-th pixel.
  """
  batch, channels, pixels = x.shape
  length = -(-pixels // count)
  x = jnp.pad(x, ((0, 0), (0, 0), (0, length * count - pixels)))
  if strided:
    x = x.reshape(batch, channels, length, count).swapaxes(2, 3)
  return x.reshape(batch, count, channels, length)


def unbins(x: Array, pixels: int, strided: bool) -> Array:
  """Inverts `bins`: [B, count, C, M] -> [B, C, pixels]."""
  batch, count, channels, length = x.shape
  x = x.reshape(batch, channels, count, length)
  if strided:
    x = x.swapaxes(2, 3)
  return x.reshape(batch, channels, count * length)[..., :pixels]


class HistogramAttention(nn.Module):
  """Attention over bins of pixels of similar value, in two layouts that are multiplied (DHSA).

  heads: also the number of bins; divides the channels, which are even.
  """

  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map [B, H, W, C]."""
    batch, height, width, channels = x.shape
    ones, dtype = nn.initializers.ones, self.ways.param_dtype
    temperature = self.param("temperature", ones, (self.heads,), dtype)
    first, rest = jnp.split(x, 2, -1)
    first, rows = sort(first, 1)
    first, columns = sort(first, 2)
    x = jnp.concatenate([first, rest], -1)
    x = Convolution(5 * channels, self.ways, window=1, name="expand")(x)
    x = Depthwise(self.ways, name="local")(x)
    # Channels before pixels: what follows runs along the pixels of a channel.
    parts = x.reshape(batch, -1, 5 * channels).swapaxes(1, 2).reshape(batch, 5, channels, -1)
    order = jnp.argsort(parts[:, 4], axis=-1)
    back = jnp.argsort(order, axis=-1)
    parts = [_permute(parts[:, i], order, back, -1) for i in range(5)]
    attended = [
      self._attend(parts[i], parts[i + 1], parts[4], temperature, strided=i == 2) for i in (0, 2)
    ]
    if self.ways.histogram == "gram":
      x = _permute(attended[0] * attended[1], back, order, -1)
    else:
      first, second = (_permute(x, back, order, -1) for x in attended)
      x = first * second
    x = x.swapaxes(1, 2).reshape(batch, height, width, channels)
    x = Convolution(channels, self.ways, window=1, name="project_out")(x)
    first, rest = jnp.split(x, 2, -1)
    first = move_back(move_back(first, columns, 2), rows, 1)
    return jnp.concatenate([first, rest], -1)

  def _attend(self, query: Array, key: Array, value: Array, temperature: Array, *, strided: bool):
    pixels = query.shape[-1]
    query, key, value = (bins(x, self.heads, strided) for x in (query, key, value))
    weights = jnp.exp(attention_scores(self.ways, query, key, temperature))
    weights = (weights / (1 + weights.sum(-1, keepdims=True))).astype(value.dtype)
    return unbins(jnp.einsum("bgcd,bgdm->bgcm", weights, value, precision=EXACT), pixels, strided)


class Block(nn.Module):
  """x + attention(norm(x)), then x + feedforward(norm(x))."""

  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    normal = LayerNorm(self.ways, name="norm1")(x)
    x = x + HistogramAttention(self.heads, self.ways, name="attention")(normal)
    normal = LayerNorm(self.ways, name="norm2")(x)
    return x + Feedforward(self.ways, name="feedforward")(normal)


class Blocks(nn.Module):
  """`count` blocks, one after the other."""

  count: int
  heads: int
  ways: Ways

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Keeps the shape of the map."""
    for i in range(self.count):
      x = Block(self.heads, self.ways, name=f"block{i}")(x)
    return x
