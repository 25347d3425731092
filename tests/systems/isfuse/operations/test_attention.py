"""Every way of computing attention, and its gradients, against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse.inference import graph
from cfi_jax.systems.isfuse.operations import attention, attention_kernel

PIXELS, TOKENS, FEATURES = 300, 16, 32  # more than one block of pixels, the last one partly filled


def operands(query_batch, key_batch, dtype=jnp.float64):
  random = np.random.default_rng(3)
  shapes = ((query_batch, PIXELS), (key_batch, TOKENS), (key_batch, TOKENS))
  return [jnp.asarray(2 * random.standard_normal((*s, FEATURES)), dtype) for s in shapes]


def definition(query, key, value):
  """Pixel by pixel, in NumPy."""
  batch = max(len(query), len(key))
  query, key, value = (np.broadcast_to(x, (batch, *x.shape[1:])) for x in (query, key, value))
  powers = np.exp(np.einsum("bnc,btc->bnt", query, key) / np.sqrt(FEATURES))
  return np.einsum("bnt,btc->bnc", powers / powers.sum(-1, keepdims=True), value)


@pytest.mark.parametrize("batches", [(2, 2), (1, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("name", ["matmul", "pallas"])
def test_values_and_gradients_are_those_of_the_definition(name, batches, x64):
  arrays = operands(*batches)
  function = attention.get(name)
  np.testing.assert_allclose(function(*arrays), definition(*arrays), atol=1e-12)
  towards = jnp.asarray(np.random.default_rng(4).standard_normal((2, PIXELS, FEATURES)))
  gradient = jax.grad(lambda *x: (function(*x) * towards).sum(), argnums=(0, 1, 2))(*arrays)
  # Central differences along a random direction of all three.
  directions = [jnp.sin(7.0 * x) for x in arrays]
  step = 1e-6
  ends = (
    definition(*(x + sign * step * d for x, d in zip(arrays, directions, strict=True)))
    for sign in (1, -1)
  )
  forward, backward = ((end * np.asarray(towards)).sum() for end in ends)
  slope = sum(float((g * d).sum()) for g, d in zip(gradient, directions, strict=True))
  assert slope == pytest.approx((forward - backward) / (2 * step), rel=1e-6)
  assert [g.shape for g in gradient] == [x.shape for x in arrays]


def test_a_tpu_gets_whole_blocks(monkeypatch):
  """Its compiler knows no loads of parts of one."""
  arrays, seen = operands(2, 1, jnp.float32), []
  inner = attention_kernel.attend

  def attend(pixels, tokens, scale):
    seen.append(pixels[0].shape)
    return inner(pixels, tokens, scale)

  monkeypatch.setattr(attention_kernel, "attend", attend)
  monkeypatch.setattr(sharding, "platform", lambda: "tpu")
  found = attention.pallas(*arrays)
  assert seen == [(2, 3 * attention_kernel.BLOCK, FEATURES)]
  np.testing.assert_allclose(found, definition(*arrays), atol=1e-5)


@pytest.mark.parametrize("name", ["matmul", "pallas"])
def test_bfloat16_keeps_its_softmax_in_float32(name):
  arrays = operands(2, 2, jnp.bfloat16)
  result = attention.get(name)(*arrays)
  assert result.dtype == jnp.bfloat16
  exact = definition(*(np.asarray(x, np.float64) for x in arrays))
  np.testing.assert_allclose(np.asarray(result, np.float64), exact, atol=0.04)


def test_the_kernel_keeps_no_weights_for_the_gradient():
  arrays = operands(2, 2, jnp.float32)

  def kept(name):
    _, saved = jax.eval_shape(lambda *x: jax.vjp(attention.get(name), *x), *arrays)
    return [x.shape for x in jax.tree.leaves(saved)]

  weights = (2, PIXELS, TOKENS)
  assert weights in kept("matmul")
  assert weights not in kept("pallas")


def test_names_and_sizes_are_checked():
  with pytest.raises(InputError, match="'flash'; valid: matmul, pallas"):
    attention.get("flash")
  odd = jnp.zeros((1, 25, 32))
  with pytest.raises(InputError, match="25 tokens and 32 features; allowed: powers of two from 16"):
    attention.get("pallas")(jnp.zeros((1, 9, 32)), odd, odd)


@pytest.mark.parametrize("name", ["recomputed", "cudnn"])
def test_names_of_earlier_versions_are_taken(name):
  assert attention.get(name) is attention.matmul


def test_both_directions_are_the_products_of_fusing(x64):
  visible, key, value = operands(2, 2)
  infrared, others, offset = jnp.cos(visible), jnp.sin(value), jnp.tanh(key[..., 0])
  arguments = (visible, infrared), ((key, offset, value), (others, 2 * offset, key))
  found = attention.kernel(*arguments, scale=1.0)
  np.testing.assert_allclose(found, graph._by_products(*arguments), atol=1e-12)


@pytest.mark.parametrize(
  ("platform", "has_kernel"), [("cpu", False), ("cuda", True), ("tpu", True)]
)
def test_the_platform_that_is_lowered_to_decides(platform, has_kernel):
  shapes = (jax.ShapeDtypeStruct((1, 256, 32), jnp.float32),) * 3
  program = jax.jit(lambda q, k, v: attention.pallas(q, k[:, :16], v[:, :16]))
  lowered = program.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
  assert ("custom_call" in lowered) == has_kernel
