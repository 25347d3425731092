"""Coupling of three streams: a mask, and attention of both modalities over fused channels."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.amgfuse.histogram import norm
from cfi_jax.systems.amgfuse.layers import EXACT, Convolution, Depthwise, Residual, bound
from cfi_jax.systems.amgfuse.masks import first_raw_mask, raw_mask
from cfi_jax.systems.amgfuse.ways import Ways

MODALITIES = ("visible", "infrared")
STREAMS = (*MODALITIES, "fused")


class Streams(NamedTuple):
  """Maps [B, H, W, C] of the three streams."""

  visible: Array
  infrared: Array
  fused: Array


class Attention(nn.Module):
  """Attention of both modalities' channels over those of the fused stream (CFA).

  heads: divides the channels. gate: whether two numbers in (0, 1) weigh the attended maps in the
  update of the fused stream. last: whether only that update is wanted.
  """

  heads: int
  gate: bool
  ways: Ways

  @nn.compact
  def __call__(self, queries: dict[str, Array], fused: Array, *, only_fused: bool) -> Streams:
    """Updates of the three streams; queries: masked maps by modality."""
    channels, dtype = fused.shape[-1], self.ways.param_dtype
    temperature = self.param("temperature", nn.initializers.ones, (self.heads,), dtype)
    point = functools.partial(Convolution, ways=self.ways, window=1)
    asking = {
      m: Depthwise(self.ways, name=f"query_{m}_local")(point(channels, name=f"query_{m}")(x))
      for m, x in queries.items()
    }
    both = point(2 * channels, name="key_value")(fused)
    key, value = jnp.split(Depthwise(self.ways, name="key_value_local")(both), 2, -1)
    weights = {m: self._weights(x, key, temperature) for m, x in asking.items()}
    shape = (channels, channels)
    outputs = {s: self.param(f"project_{s}", bound, shape, dtype) for s in STREAMS}
    update = _by_matrices if self.ways.coupling == "matrices" else _by_maps
    return update(self, weights, value, outputs, only_fused)

  def _weights(self, query: Array, key: Array, temperature: Array) -> Array:
    """Softmax over channels of a head, [B, heads, C / heads, C / heads]."""
    exact = self.ways.exact
    query, key = (
      x.reshape(x.shape[0], -1, self.heads, x.shape[-1] // self.heads) for x in (query, key)
    )
    norms = [norm(x.astype(exact).transpose(0, 2, 3, 1)) for x in (query, key)]
    contract = functools.partial(
      jnp.einsum, "bngc,bngd->bgcd", precision=EXACT, preferred_element_type=exact
    )
    if self.ways.coupling == "matrices":
      gram = contract(query, key) * (1 / norms[0]) * (1 / norms[1]).swapaxes(-1, -2)
    else:
      scaled = (x / n.transpose(0, 3, 1, 2) for x, n in zip((query, key), norms, strict=True))
      gram = contract(*(x.astype(query.dtype) for x in scaled))
    return nn.softmax(gram * temperature.astype(exact).reshape(1, -1, 1, 1))

  def gates(self, means: dict[str, Array]) -> dict[str, Array]:
    """Weights [B, 1] of the attended maps, from the mean [B, C] of each."""
    if not self.gate:
      return {m: jnp.ones_like(x[:, :1]) for m, x in means.items()}
    x = jnp.concatenate([means[m] for m in MODALITIES], -1)
    squeeze = self.param("squeeze", bound, (x.shape[-1], x.shape[-1] // 32), self.ways.param_dtype)
    excite = self.param("excite", bound, (x.shape[-1] // 32, 2), self.ways.param_dtype)
    x = nn.relu(jnp.matmul(x, squeeze.astype(x.dtype), precision=EXACT))
    x = nn.sigmoid(jnp.matmul(x, excite.astype(x.dtype), precision=EXACT))
    return dict(zip(MODALITIES, jnp.split(x, 2, -1), strict=True))


def _by_maps(
  module: Attention, weights: dict, value: Array, outputs: dict, only_fused: bool
) -> Streams:
  """Attended maps, then their projections."""
  batch, height, width, channels = value.shape
  heads = value.reshape(batch, -1, module.heads, channels // module.heads)
  attended = {
    m: jnp.einsum("bgcd,bngd->bngc", w.astype(value.dtype), heads, precision=EXACT)
    .reshape(value.shape)
    for m, w in weights.items()
  }  # fmt: skip
  gates = module.gates({m: x.astype(module.ways.exact).mean((1, 2)) for m, x in attended.items()})
  total = sum(gates[m].astype(value.dtype)[:, None, None] * x for m, x in attended.items())
  maps = ({} if only_fused else attended) | {"fused": total}
  updates = {s: jnp.matmul(x, outputs[s].astype(x.dtype)) for s, x in maps.items()}
  return Streams(*(updates.get(s) for s in STREAMS))


def _by_matrices(
  module: Attention, weights: dict, value: Array, outputs: dict, only_fused: bool
) -> Streams:
  """Products of all matrices [C, C] of an image, then one product with its values."""
  batch, height, width, channels = value.shape
  exact, own = module.ways.exact, channels // module.heads
  mean = value.astype(exact).mean((1, 2)).reshape(batch, module.heads, own)
  means = {
    m: jnp.einsum("bgcd,bgd->bgc", w, mean, precision=EXACT).reshape(batch, channels)
    for m, w in weights.items()
  }
  gates = module.gates(means)
  mixed = sum(gates[m][..., None, None] * w for m, w in weights.items())
  heads = ({} if only_fused else weights) | {"fused": mixed}

  def projected(stream: str) -> Array:
    kernel = outputs[stream].astype(exact).reshape(module.heads, own, channels)
    matrix = jnp.einsum("bgcd,gco->bgdo", heads[stream], kernel, precision=EXACT)
    return matrix.reshape(batch, channels, channels).astype(value.dtype)

  flat = value.reshape(batch, -1, channels)
  updates = {s: jnp.matmul(flat, projected(s)).reshape(value.shape) for s in heads}
  return Streams(*(updates.get(s) for s in STREAMS))


class Coupling(nn.Module):
  """Mask of the three streams, and the streams after attention through it.

  first: whether the fused stream is still the sum of the others, which are not negative.
  mask: whether queries are masked.
  """

  heads: int
  mask: bool
  gate: bool
  ways: Ways
  first: bool = False

  @nn.compact
  def __call__(self, streams: Streams, *, only_fused: bool = False) -> tuple[Streams, Array, Array]:
    """Maps streams to (streams, raw mask, mask), all [B, H, W, C]; masks in (0, 1).

    only_fused: whether the other two streams are not wanted, and are None.
    """
    exact = self.ways.exact
    visible, infrared, fused = (x.astype(exact) for x in streams)
    raw = first_raw_mask(visible) if self.first else raw_mask(visible, infrared, fused)
    queries = {"visible": streams.visible, "infrared": streams.infrared}
    mask = raw
    if self.mask:
      residual = Residual(self.ways, name="mask")(raw.astype(streams.fused.dtype))
      mask = nn.sigmoid(residual.astype(exact))
      visible, infrared = mask * visible, (1 - mask) * infrared
      queries = {"visible": visible, "infrared": infrared}
      queries = {m: x.astype(streams.fused.dtype) for m, x in queries.items()}
    attention = Attention(self.heads, self.gate, self.ways, name="attention")
    updates = attention(queries, streams.fused, only_fused=only_fused)
    after = (None if u is None else x + u for x, u in zip(streams, updates, strict=True))
    return Streams(*after), raw, mask
