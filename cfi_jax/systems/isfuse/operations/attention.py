"""Attention of many pixels over a few tokens: one definition, computed in several ways.

Every function maps (query_BNC, key_BTC, value_BTC) to softmax(query key^T / sqrt(C)) value
[B, N, C]. A batch of one (a view that is the same for all samples) is broadcast against B. They
differ in what passes through memory: the weights [B, N, T] are twice as wide as the features.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from cfi_jax.core.types import Array, InputError
from cfi_jax.images.ops import statistics_dtype

Attention = Callable[[Array, Array, Array], Array]
BLOCK = 256  # pixels that one step of the kernel holds


def matmul(query_BNC: Array, key_BTC: Array, value_BTC: Array) -> Array:
  """Plain matrix products; differentiation keeps the weights of every pixel."""
  exact = statistics_dtype(query_BNC.dtype)
  scores_BNT = jnp.matmul(query_BNC, key_BTC.swapaxes(1, 2), preferred_element_type=exact)
  scale = jnp.sqrt(query_BNC.shape[-1]).astype(scores_BNT.dtype)
  weights_BNT = jax.nn.softmax(scores_BNT / scale)
  return jnp.matmul(weights_BNT.astype(value_BTC.dtype), value_BTC)


def pallas(query_BNC: Array, key_BTC: Array, value_BTC: Array) -> Array:
  """A kernel that holds the weights of `BLOCK` pixels on the chip, in both directions.

  The number of tokens must be a power of two of at least 16, and so must that of features. On a CPU
  it is interpreted, which is slow and only for tests.
  """
  for name, number in (("tokens", key_BTC.shape[1]), ("features", query_BNC.shape[2])):
    if number < 16 or number & (number - 1):
      raise InputError(
        f"model.attention='pallas' with {number} {name}; allowed: powers of two from 16"
      )
  pixels = query_BNC.shape[1]
  padded = jnp.pad(query_BNC, ((0, 0), (0, -pixels % BLOCK), (0, 0)))
  return _kernel_attention(padded, key_BTC, value_BTC)[:, :pixels]


ATTENTIONS: dict[str, Attention] = {"matmul": matmul, "pallas": pallas}
# Ways that earlier versions had beside: their configs and work directories go on, equal results.
RETIRED = {"recomputed": matmul, "cudnn": matmul}


def get(name: str) -> Attention:
  """The attention of that name; `InputError` lists the valid names."""
  known = ATTENTIONS | RETIRED
  if name not in known:
    raise InputError(f"model.attention is {name!r}; valid: {', '.join(ATTENTIONS)}")
  return known[name]


def _dot(a: Array, b: Array, contract: tuple[int, int]) -> Array:
  """Product of two matrices over one axis of each, accumulated in at least float32."""
  return jax.lax.dot_general(
    a,
    b,
    (((contract[0],), (contract[1],)), ((), ())),
    precision=jax.lax.Precision.HIGHEST if a.dtype != jnp.bfloat16 else None,
    preferred_element_type=statistics_dtype(a.dtype),
  )


def _weights(query: Array, key: Array) -> Array:
  """softmax(query key^T / sqrt(C)) [BLOCK, T] of one block."""
  return jax.nn.softmax(_dot(query, key, (1, 1)) / math.sqrt(query.shape[-1]))


def _forward_block(query, key, value, out):
  weights = _weights(query[...], key[...]).astype(value.dtype)
  out[...] = _dot(weights, value[...], (1, 0)).astype(out.dtype)


def _backward_block(query, key, value, d_out, d_query, d_key, d_value):
  weights = _weights(query[...], key[...])
  d_value[...] = _dot(weights.astype(d_out.dtype), d_out[...], (0, 0))
  d_weights = _dot(d_out[...], value[...], (1, 1))
  inner = (d_weights * weights).sum(-1, keepdims=True)
  d_scores = weights * (d_weights - inner) / math.sqrt(query.shape[-1])
  d_scores = d_scores.astype(query.dtype)
  d_query[...] = _dot(d_scores, key[...], (1, 0)).astype(d_query.dtype)
  d_key[...] = _dot(d_scores, query[...], (0, 0))


def _specs(arrays: tuple[Array, ...], blocked: tuple[bool, ...]) -> list[pl.BlockSpec]:
  """One block of pixels, or all tokens, of the sample; a batch of one is everybody's."""

  def spec(array: Array, is_blocked: bool) -> pl.BlockSpec:
    size = BLOCK if is_blocked else array.shape[1]
    shared = array.shape[0] == 1
    return pl.BlockSpec(
      (None, size, array.shape[2]),
      lambda b, n: (0 if shared else b, n if is_blocked else 0, 0),
    )

  return [spec(a, b) for a, b in zip(arrays, blocked, strict=True)]


def _call(kernel: Callable, arrays: tuple[Array, ...], blocked: tuple[bool, ...], outs: list):
  """Runs a kernel over samples and blocks; outs: (shape, dtype, spec) of its results."""
  batch = max(array.shape[0] for array in arrays)
  return pl.pallas_call(
    kernel,
    grid=(batch, arrays[0].shape[1] // BLOCK),
    in_specs=_specs(arrays, blocked),
    out_specs=[spec for _, _, spec in outs],
    out_shape=[jax.ShapeDtypeStruct(shape, dtype) for shape, dtype, _ in outs],
    interpret=jax.default_backend() == "cpu",
  )(*arrays)


@jax.custom_vjp
def _kernel_attention(query: Array, key: Array, value: Array) -> Array:
  return _forward(query, key, value)[0]


def _forward(query: Array, key: Array, value: Array) -> tuple[Array, tuple[Array, ...]]:
  batch, (_, pixels, features) = max(query.shape[0], key.shape[0]), query.shape
  per_pixel = pl.BlockSpec((None, BLOCK, features), lambda b, n: (b, n, 0))
  outs = [((batch, pixels, features), value.dtype, per_pixel)]
  (out,) = _call(_forward_block, (query, key, value), (True, False, False), outs)
  return out, (query, key, value)


def _backward(saved: tuple[Array, ...], d_out: Array) -> tuple[Array, ...]:
  query, key, value = saved
  batch, pixels, features = d_out.shape
  tokens, blocks = key.shape[1], pixels // BLOCK
  exact = statistics_dtype(query.dtype)
  per_pixel = pl.BlockSpec((None, BLOCK, features), lambda b, n: (b, n, 0))
  # Every block leaves its share of the tokens' gradients: [T, C] for [BLOCK, C] that it read.
  per_block = pl.BlockSpec((None, None, tokens, features), lambda b, n: (b, n, 0, 0))
  shares = ((batch, blocks, tokens, features), exact, per_block)
  outs = [((batch, pixels, features), query.dtype, per_pixel), shares, shares]
  blocked = (True, False, False, True)
  d_query, d_key, d_value = _call(_backward_block, (query, key, value, d_out), blocked, outs)
  gradients = (d_query, d_key.sum(1), d_value.sum(1))
  return tuple(
    jnp.sum(g, 0, keepdims=True).astype(x.dtype) if x.shape[0] < batch else g.astype(x.dtype)
    for g, x in zip(gradients, saved, strict=True)
  )


_kernel_attention.defvjp(_forward, _backward)
