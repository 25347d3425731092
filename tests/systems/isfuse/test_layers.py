"""BatchNorm and padding against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.systems.isfuse.layers import ConvBlock, Encoder
from cfi_jax.systems.isfuse.operations.plain import Plain, batch_moments
from cfi_jax.systems.isfuse.statistics import BatchNorm, update_running

OPERATIONS = Plain("zeros", jnp.float64)
KINDS = dict(operations=OPERATIONS, param_dtype=jnp.float64)


def normalise(x, train, variables=None):
  """BatchNorm and LeakyReLU of `x` as it is: the convolution has the identity for its kernel."""
  kernel = jnp.zeros((3, 3, x.shape[-1], x.shape[-1])).at[1, 1].set(jnp.eye(x.shape[-1]))
  norm = BatchNorm(x.shape[-1], **KINDS)
  arguments = (x, kernel, jnp.zeros(x.shape[-1]), train)
  variables = variables or norm.init(jax.random.key(0), *arguments[:-1], True)
  return norm.apply(variables, *arguments, mutable=["moments"])


def leaky(x):
  return np.where(x > 0, x, 0.01 * x)


def test_training_normalises_with_the_batch_and_leaves_biased_moments(x64):
  x = np.random.default_rng(0).normal(3, 2, size=(4, 5, 6, 2))
  out, new = normalise(jnp.asarray(x), True)
  moments = new["moments"]
  np.testing.assert_allclose(moments["mean"], x.mean((0, 1, 2)))
  np.testing.assert_allclose(moments["var"], x.var((0, 1, 2)))
  assert moments["pixels"] == 30
  expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
  np.testing.assert_allclose(out, leaky(expected), atol=1e-12)


def test_variance_does_not_cancel_on_an_offset_in_float32():
  # E[x^2] - mean^2 in float32 is off by more than the variance itself here.
  x = 1000 + np.random.default_rng(0).normal(0, 0.01, size=(2, 32, 32, 1)).astype(np.float32)
  _, var = batch_moments(jnp.asarray(x))
  assert float(var[0]) == pytest.approx(x.astype(np.float64).var(), rel=1e-2)


def test_evaluation_uses_running_statistics(x64):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 1)))
  variables = {
    "params": {"scale": jnp.array([2.0]), "bias": jnp.array([0.5])},
    "batch_stats": {"mean": jnp.array([1.0]), "var": jnp.array([4.0])},
  }
  out, new = normalise(x, False, variables)
  np.testing.assert_allclose(out, leaky((x - 1) / np.sqrt(4 + 1e-5) * 2 + 0.5), atol=1e-12)
  assert "moments" not in new


def test_update_running_uses_the_unbiased_variance_of_the_whole_batch(x64):
  stats = {"a": {"mean": jnp.zeros(1), "var": jnp.ones(1)}, "b": {"mean": jnp.ones(1)}}
  moments = {"a": {"mean": jnp.array([2.0]), "var": jnp.array([3.0]), "pixels": jnp.array(4.0)}}
  new = update_running(stats, moments, 5, 0.9)
  np.testing.assert_allclose(new["a"]["mean"], 0.2)
  np.testing.assert_allclose(new["a"]["var"], 0.9 + 0.1 * 3 * 20 / 19)
  assert new["b"] is stats["b"]


@pytest.mark.parametrize(
  ("padding", "mode"), [("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge")]
)
def test_conv_pads_as_it_says(x64, padding, mode):
  x = np.random.default_rng(0).normal(size=(1, 4, 5, 2))
  kernel = np.random.default_rng(1).normal(size=(3, 3, 2, 3))
  bias = jnp.array([0.5, -1.0, 2.0])
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode)
  expected = sum(
    padded[:, dy : dy + 4, dx : dx + 5] @ kernel[dy, dx] for dy in range(3) for dx in range(3)
  )
  found = Plain(padding, jnp.float64).convolve(jnp.asarray(x), jnp.asarray(kernel), bias)
  np.testing.assert_allclose(found, expected + np.asarray(bias), atol=1e-12)


def test_pool_gradient_of_a_tie_goes_to_the_first_maximum(x64):
  tied = jnp.ones((1, 2, 2, 1))
  gradient = jax.grad(lambda x: OPERATIONS.halve(x).sum())(tied)
  np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0], [0, 0]])


def test_encoder_halves_with_floor(x64):
  encoder = Encoder(4, 3, **KINDS)
  shapes, _ = jax.eval_shape(
    lambda: encoder.init_with_output(jax.random.key(0), jnp.zeros((1, 13, 22, 1)), False)
  )
  assert [s.shape for s in shapes] == [(1, 13, 22, 4), (1, 6, 11, 4), (1, 3, 5, 4)]


def test_the_slope_at_zero_is_that_of_the_negative_side(x64):
  """A blank image's maps are 0 where biases are; the reference counts 0 as negative."""
  block = ConvBlock(2, **KINDS, depth=1)
  blank = jnp.zeros((1, 4, 5, 1))
  variables = block.init(jax.random.key(0), blank, True)

  def total(params):
    out, _ = block.apply({**variables, "params": params}, blank, True, mutable=["moments"])
    return out.sum()

  gradient = jax.grad(total)(variables["params"])["norm1"]["bias"]
  np.testing.assert_allclose(gradient, [0.01 * 20] * 2)
