"""Kernels of attention over few tokens, forwards and backwards, for one or several directions.

A direction is a map whose pixels ask, [B, N, C], and tokens (key [B, T, C], offset [B, T], value
[B, T, C]); its share is softmax(scale pixels key^T + offset) value, and directions are summed.
Several directions in a row may ask with the same map. The weights [N, T] stay on the chip;
backwards they are computed again.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.images.ops import statistics_dtype

BLOCK = 128  # pixels whose weights are held at once
MOST_BLOCKS = 32  # that one program takes in turn backwards, before it writes its share
PROGRAMS = 128  # at least so many backwards, where there are so many blocks: processors of a GPU
GPU = triton.CompilerParams(num_warps=4, num_stages=2)

# Exact to float32's rounding on the tensor cores, and compiled four times faster than without them.
THREE_PRODUCTS = jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3

Precision = jax.lax.Precision | jax.lax.DotAlgorithmPreset
Product = Callable[[Array, Array, tuple[int, int]], Array]
Tokens = tuple[Array, Array, Array]
Shape = jax.ShapeDtypeStruct


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(pixels: tuple[Array, ...], tokens: tuple[Tokens, ...], scale: float) -> Array:
  """The sum over directions, [B, N, C]; a batch of one is everybody's."""
  return _forward(pixels, tokens, scale)[0]


def _forward(
  pixels: tuple[Array, ...], tokens: tuple[Tokens, ...], scale: float
) -> tuple[Array, tuple]:
  flat = _flatten(tokens)
  batch = max(len(x) for x in (*pixels, *flat))
  count, features = pixels[0].shape[1:]
  out = Shape((batch, count, features), tokens[0][2].dtype)
  takes = [*(_rows(x, BLOCK) for x in pixels), *map(_whole, flat)]
  kernel = functools.partial(_forward_block, len(pixels), scale)
  grid = (batch, pl.cdiv(count, BLOCK))
  arrays = (*pixels, *flat)
  cost = _cost(2, out, tokens, (*arrays, out))
  (result,) = _call(kernel, count, grid, arrays, takes, [(out, _rows(out, BLOCK))], cost)
  return result, (pixels, tokens)


def _backward(scale: float, saved: tuple, d_out: Array) -> tuple:
  pixels, tokens = saved
  flat, exact = _flatten(tokens), statistics_dtype(d_out.dtype)
  batch, count, features = d_out.shape
  blocks = _blocks_per_program(batch, pl.cdiv(count, BLOCK))
  size, programs = blocks * BLOCK, pl.cdiv(count, blocks * BLOCK)
  # Every program leaves its share of the tokens' gradients.
  outs = [(Shape((batch, count, features), x.dtype), _rows(d_out, size)) for x in pixels]
  for x in flat:
    shape = Shape((batch, programs, *x.shape[1:]), exact)
    share = pl.BlockSpec((None, None, *x.shape[1:]), lambda b, n: (b, n, 0, 0))
    outs.append((shape, share))
  takes = [*(_rows(x, size) for x in pixels), *map(_whole, flat), _rows(d_out, size)]
  kernel = functools.partial(_backward_blocks, len(pixels), blocks, scale)
  arrays = (*pixels, *flat, d_out)
  cost = _cost(5, d_out, tokens, (*arrays, *(shape for shape, _ in outs)))
  results = _call(kernel, count, (batch, programs), arrays, takes, outs, cost)
  d_pixels = tuple(map(_as_batch, results[: len(pixels)], pixels))
  d_flat = [_as_batch(g.sum(1), x) for g, x in zip(results[len(pixels) :], flat, strict=True)]
  return d_pixels, _unflatten(d_flat)


attend.defvjp(_forward, _backward)


def _forward_block(directions: int, scale: float, count: int, product: Product, *refs):
  *takes, out = refs
  pixels, flat = takes[:directions], takes[directions:]
  rows, total = _Rows(count - pl.program_id(1) * BLOCK, 0, count % BLOCK > 0), 0.0
  for x, (key, offset, value) in zip(_asking(pixels, flat), _unflatten(flat), strict=True):
    weights = _weights(product, rows.load(x), key[...], offset[...], scale).astype(value.dtype)
    total += product(weights, value[...], (1, 0))
  rows.store(out, total)


def _backward_blocks(
  directions: int, blocks: int, scale: float, count: int, product: Product, *refs
):
  pixels, refs = refs[:directions], refs[directions:]
  arrays = (len(refs) - 1 - directions) // 2
  flat, d_out, d_pixels, d_flat = _cut(refs, arrays, 1, directions, arrays)

  rest = count - pl.program_id(1) * blocks * BLOCK
  is_ragged = count % (blocks * BLOCK) > 0

  def block(i, totals):
    rows = _Rows(rest - i * BLOCK, i, is_ragged)
    towards, found = rows.load(d_out[0]), []
    d_asking = [0.0] * directions
    each = zip(_asking(range(directions), flat), _unflatten(flat), strict=True)
    for k, (key, offset, value) in each:
      asking = rows.load(pixels[k])
      weights = _weights(product, asking, key[...], offset[...], scale)
      d_weights = product(towards, value[...], (1, 1))
      inner = (d_weights * weights).sum(-1, keepdims=True)
      exact_scores = weights * (d_weights - inner)
      d_scores = (scale * exact_scores).astype(asking.dtype)
      d_asking[k] += product(d_scores, key[...], (1, 0))
      found += [
        product(d_scores, asking, (0, 0)),
        exact_scores.sum(0, keepdims=True),
        product(weights.astype(towards.dtype), towards, (0, 0)),
      ]
    for d_x, total in zip(d_pixels, d_asking, strict=True):
      rows.store(d_x, total)
    return tuple(total + share for total, share in zip(totals, found, strict=True))

  zeros = tuple(jnp.zeros(x.shape, x.dtype) for x in d_flat)
  for x, total in zip(d_flat, jax.lax.fori_loop(0, blocks, block, zeros), strict=True):
    x[...] = total


class _Rows:
  """One block of the pixels of a program; those beyond the last are zeros, and are not written."""

  def __init__(self, rest: Array, block: int | Array, is_ragged: bool):
    """The block of that number; rest: pixels of the map from its first on."""
    self.at = pl.ds(block * BLOCK, BLOCK)
    places = jax.lax.broadcasted_iota(jnp.int32, (BLOCK, 1), 0)
    self.mask = places < rest if is_ragged else None

  def load(self, ref) -> Array:
    """The block's pixels."""
    if self.mask is None:
      return ref[self.at, :]
    mask = jnp.broadcast_to(self.mask, (BLOCK, ref.shape[1]))
    return triton.load(ref.at[self.at, :], mask=mask, other=0.0)

  def store(self, ref, values: Array) -> None:
    """Writes the block's pixels."""
    values = values.astype(ref.dtype)
    if self.mask is None:
      ref[self.at, :] = values
    else:
      mask = jnp.broadcast_to(self.mask, values.shape)
      triton.store(ref.at[self.at, :], values, mask=mask)


def _weights(product: Product, pixels: Array, key: Array, offset: Array, scale: float) -> Array:
  """softmax(scale pixels key^T + offset) [BLOCK, T] of one block."""
  return jax.nn.softmax(scale * product(pixels, key, (1, 1)) + offset)


def _product(float32: Precision, a: Array, b: Array, contract: tuple[int, int]) -> Array:
  """Product of two matrices over one axis of each, accumulated in at least float32.

  float32: how exact that of float32 is.
  """
  precisions = {"bfloat16": None, "float32": float32}
  return jax.lax.dot_general(
    a,
    b,
    (((contract[0],), (contract[1],)), ((), ())),
    precision=precisions.get(a.dtype.name, jax.lax.Precision.HIGHEST),
    preferred_element_type=statistics_dtype(a.dtype),
  )


def _cost(
  products: int, out: Array | Shape, tokens: tuple[Tokens, ...], moved: Sequence
) -> pl.CostEstimate:
  """Figures for the compiler, of a kernel that multiplies every pixel so often with all tokens."""
  weights = out.shape[0] * out.shape[1] * sum(key.shape[1] for key, _, _ in tokens)
  return pl.CostEstimate(
    flops=2 * products * weights * out.shape[2],
    transcendentals=weights,
    bytes_accessed=sum(x.size * x.dtype.itemsize for x in moved),
  )


def _blocks_per_program(batch: int, blocks: int) -> int:
  """A divisor of `blocks`, so large that shares are few, and so small that programs are enough."""
  programs = 1 if sharding.platform() == "tpu" else PROGRAMS  # a TPU runs them one by one
  most = max(1, min(MOST_BLOCKS, batch * blocks // programs))
  return max(n for n in range(1, most + 1) if blocks % n == 0)


def _asking(maps: Sequence, flat: Sequence) -> list:
  """The map of every direction."""
  times = len(flat) // 3 // len(maps)
  return [x for x in maps for _ in range(times)]


def _flatten(tokens: tuple[Tokens, ...]) -> tuple[Array, ...]:
  """Keys, offsets [B, 1, T] and values of all directions in a row."""
  return tuple(x for key, offset, value in tokens for x in (key, offset[:, None], value))


def _unflatten(flat: Sequence) -> tuple:
  """(key, offset, value) of every direction; arrays of offsets are [B, T] again."""
  tokens = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
  return tuple((k, o[:, 0] if isinstance(o, jax.Array) else o, v) for k, o, v in tokens)


def _cut(refs: Sequence, *counts: int) -> list[Sequence]:
  parts = []
  for count in counts:
    parts.append(refs[:count])
    refs = refs[count:]
  return parts


def _rows(x: Array | Shape, size: int) -> pl.BlockSpec:
  """`size` pixels of a sample."""
  shared = x.shape[0] == 1
  return pl.BlockSpec((None, size, x.shape[2]), lambda b, n: (0 if shared else b, n, 0))


def _whole(x: Array) -> pl.BlockSpec:
  """All tokens of a sample."""
  shared = x.shape[0] == 1
  return pl.BlockSpec((None, *x.shape[1:]), lambda b, n: (0 if shared else b, 0, 0))


def _as_batch(gradient: Array, like: Array) -> Array:
  """The gradient of an array that may have been everybody's."""
  if like.shape[0] < gradient.shape[0]:
    gradient = gradient.astype(statistics_dtype(gradient.dtype)).sum(0, keepdims=True)
  return gradient.astype(like.dtype)


def _call(
  kernel: Callable,
  count: int,
  grid: tuple,
  arrays: tuple,
  takes: list,
  gives: list,
  cost: pl.CostEstimate,
) -> list[Array]:
  """Runs kernel(count of pixels, product, *refs) over a grid on the platform that is lowered to.

  gives: (shape, blocks) of every result.
  """

  def run(*arrays: Array, float32: Precision = jax.lax.Precision.HIGHEST, **kinds) -> list[Array]:
    return pl.pallas_call(
      functools.partial(kernel, count, functools.partial(_product, float32)),
      grid=grid,
      in_specs=takes,
      out_specs=[blocks for _, blocks in gives],
      out_shape=[shape for shape, _ in gives],
      cost_estimate=cost,
      **kinds,
    )(*arrays)

  interpreted = functools.partial(run, interpret=True)
  on_gpu = functools.partial(run, float32=THREE_PRODUCTS, compiler_params=GPU)
  return jax.lax.platform_dependent(*arrays, cpu=interpreted, cuda=on_gpu, rocm=on_gpu, default=run)
