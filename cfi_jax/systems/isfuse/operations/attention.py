"""Attention of many pixels over a few tokens: one definition, computed in several ways.

Every function maps (query_BNC, key_BTC, value_BTC) to softmax(query key^T / sqrt(C)) value
[B, N, C]. A batch of one (a view that is the same for all samples) is broadcast against B. They
differ in what passes through memory: the weights [B, N, T] are twice as wide as the features.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.engine import sharding
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.operations import attention_kernel
from cfi_jax.systems.isfuse.operations.attention_kernel import Tokens

Attention = Callable[[Array, Array, Array], Array]


def matmul(query_BNC: Array, key_BTC: Array, value_BTC: Array) -> Array:
  """Plain matrix products; differentiation keeps the weights of every pixel."""
  exact = statistics_dtype(query_BNC.dtype)
  scores_BNT = jnp.matmul(query_BNC, key_BTC.swapaxes(1, 2), preferred_element_type=exact)
  scale = jnp.sqrt(query_BNC.shape[-1]).astype(scores_BNT.dtype)
  weights_BNT = jax.nn.softmax(scores_BNT / scale)
  return jnp.matmul(weights_BNT.astype(value_BTC.dtype), value_BTC)


def pallas(query_BNC: Array, key_BTC: Array, value_BTC: Array) -> Array:
  """A kernel that holds the weights of a few hundred pixels on the chip, in both directions."""
  offset = jnp.zeros(key_BTC.shape[:2], statistics_dtype(key_BTC.dtype))
  return kernel((query_BNC,), ((key_BTC, offset, value_BTC),), key_BTC.shape[-1] ** -0.5)


def projected(kernel: Array, bias: Array, key_BTC: Array, value_BTC: Array) -> Tokens:
  """Tokens for pixels x whose query is x kernel + bias: the projection goes into the keys.

  (x W + b) k = x (W k) + b k, over few tokens instead of every pixel.
  """
  exact = statistics_dtype(key_BTC.dtype)
  kernel, bias, key = (x.astype(exact) for x in (kernel, bias, key_BTC))
  highest = jax.lax.Precision.HIGHEST
  keys = jnp.matmul(key, kernel.T, precision=highest)
  offset = jnp.matmul(key, bias, precision=highest) * key.shape[-1] ** -0.5
  return keys.astype(key_BTC.dtype), offset, value_BTC


def kernel(pixels: tuple[Array, ...], tokens: tuple[Tokens, ...], scale: float) -> Array:
  """The sum over directions of softmax(scale pixels key^T + offset) value, in one pass.

  The number of tokens must be a power of two of at least 16, and so must that of features. On a CPU
  it is interpreted, which is slow and only for tests.
  """
  if not fits(pixels, tokens):
    raise InputError(
      f"model.attention='pallas' with {tokens[0][0].shape[1]} tokens and {pixels[0].shape[2]} "
      "features; allowed: powers of two from 16"
    )
  count = pixels[0].shape[1]
  # Whole blocks on a TPU: the kernel's loads of parts of one are for GPUs.
  rest = -count % attention_kernel.BLOCK if sharding.platform() == "tpu" else 0
  whole = tuple(jnp.pad(x, ((0, 0), (0, rest), (0, 0))) for x in pixels)
  return attention_kernel.attend(whole, tokens, scale)[:, :count]


def fits(pixels: tuple[Array, ...], tokens: tuple[Tokens, ...]) -> bool:
  """Whether `kernel` takes these."""
  return takes(tokens[0][0].shape[1], pixels[0].shape[2])


def takes(tokens: int, features: int) -> bool:
  """Whether `kernel` takes so many of both: powers of two."""
  return all(n >= 16 and not n & (n - 1) for n in (tokens, features))


ATTENTIONS: dict[str, Attention] = {"matmul": matmul, "pallas": pallas}
# Ways that earlier versions had beside: their configs and work directories go on, equal results.
RETIRED = {"recomputed": matmul, "cudnn": matmul}


def get(name: str) -> Attention:
  """The attention of that name; `InputError` lists the valid names."""
  known = ATTENTIONS | RETIRED
  if name not in known:
    raise InputError(f"model.attention is {name!r}; valid: {', '.join(ATTENTIONS)}")
  return known[name]
