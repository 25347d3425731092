"""Every block against the authors' code in float64: values and gradients, in all ways."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from cfi_jax.systems.amgfuse import layers, masks, torch_names, ways
from cfi_jax.systems.amgfuse.coupling import Attention, Coupling, Streams
from cfi_jax.systems.amgfuse.histogram import (
  Block,
  HistogramAttention,
  ascending,
  move,
  move_back,
)

PLAIN, FAST = (ways.Ways("float64", "float64", **kind) for kind in (ways.PLAIN, ways.FAST))
RESIDUAL = {v: k for k, v in torch_names.RESIDUAL.items()}
ATTENTION = {v: k for k, v in torch_names.ATTENTION.items()}
BLOCK = {v: k for k, v in torch_names.BLOCK.items()}


class Couple(nn.Module):
  """A coupling of 16 channels as the authors' code gives its results."""

  ways: ways.Ways

  @nn.compact
  def __call__(self, visible, infrared, fused):
    after, _, mask = Coupling(4, True, True, self.ways, name="c")(Streams(visible, infrared, fused))
    return *after, mask


class Attend(nn.Module):
  """The attention of a coupling, of inputs in the authors' order."""

  ways: ways.Ways

  @nn.compact
  def __call__(self, visible, infrared, mask, fused):
    queries = {"visible": mask * visible, "infrared": (1 - mask) * infrared}
    return Attention(4, True, self.ways, name="c")(queries, fused, only_fused=False)


def attention(prefix):
  """Names of a part of a block without that part's own name."""
  return {
    theirs.partition(".")[2]: ours.partition(".")[2]
    for theirs, ours in BLOCK.items()
    if ours.startswith(prefix)
  }


NORM = {"body.weight": "scale", "body.bias": "bias"}
MASK = {f"mask.0.{k}": f"c.mask.{v}" for k, v in RESIDUAL.items()}
CA = {f"ca.{k}": f"c.attention.{v}" for k, v in ATTENTION.items()}
CASES = {
  **{
    f"dhsa_{case}": (functools.partial(HistogramAttention, heads), attention("attention"))
    for case, heads in (("n24_f2", 2), ("n35_f4", 4), ("n12_f8", 8), ("ties_f4", 4))
  },
  "ln_c8": (layers.LayerNorm, NORM),
  "ffn_c6": (layers.Feedforward, attention("feedforward")),
  "tblock_c8_h2": (functools.partial(Block, 2), BLOCK),
  "resblock_c5": (layers.Residual, RESIDUAL),
  "stage_c5": (layers.Stage, {f"0.{k}": f"residual.{v}" for k, v in RESIDUAL.items()}),
  "down_c8": (layers.Down, {"body.0.weight": "conv.kernel"}),
  "up_c8": (layers.Up, {"body.0.weight": "conv.kernel"}),
  "embed_c1": (functools.partial(layers.Convolution, 6), {"proj.weight": "kernel"}),
  "cfa_c16_h4": (Attend, {k: f"c.{v}" for k, v in ATTENTION.items()}),
  "fuse_c16_h4": (Couple, MASK | CA),
}
PLANES = ("dhsa", "ln", "ffn", "tblock")  # kinds of blocks that compute on [B, C, H, W]
DIFFER = ("dhsa_n35_f4", "ffn_c6", "fuse_c16_h4")
RUNS = [*((case, "plain") for case in CASES), *((case, "fast") for case in DIFFER)]


@pytest.mark.parametrize(("case", "way"), RUNS)
def test_values_and_gradients_are_those_of_the_authors(case, way, oracle, rule, pixels, x64):
  uniform, weight = rule
  kind, names = CASES[case]
  if case.startswith(PLANES):
    pixels = np.asarray
  module = kind(ways={"plain": PLAIN, "fast": FAST}[way])
  prefix = f"blk/{case}/"
  inputs = [pixels(oracle[f"{prefix}in{i}"]) for i in range(4) if f"{prefix}in{i}" in oracle]
  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
  flat = traverse_util.flatten_dict(shapes, sep=".")
  theirs = {ours: name for name, ours in names.items()}
  assert theirs.keys() == flat.keys()

  def as_theirs(ours, array):
    return torch_names.to_theirs(np.asarray(array), theirs[ours])

  weights = {}
  for ours, shape in flat.items():
    full = as_theirs(ours, np.zeros(shape.shape)).shape
    weights[ours] = torch_names.to_ours(weight(prefix + theirs[ours], full), shape.shape)
  cotangents = [
    uniform(f"{prefix}cot{i}", oracle[f"{prefix}out{i}"].shape)
    for i in range(4)
    if f"{prefix}out{i}" in oracle
  ]

  @jax.jit
  def run(weights, *inputs):
    def apply(weights, *inputs):
      params = traverse_util.unflatten_dict(weights, sep=".")
      outputs = module.apply({"params": params}, *inputs)
      return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)

    outputs, back = jax.vjp(apply, weights, *inputs)
    return outputs, back(tuple(jnp.asarray(pixels(c)) for c in cotangents))

  outputs, (of_weights, *of_inputs) = run(weights, *inputs)
  for i, output in enumerate(outputs):
    np.testing.assert_allclose(output, pixels(oracle[f"{prefix}out{i}"]), rtol=0, atol=1e-9)
  for i, gradient in enumerate(of_inputs):
    expected = pixels(oracle[f"{prefix}gin{i}"])
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)
  for ours, gradient in of_weights.items():
    expected = oracle[f"{prefix}gw/{theirs[ours]}"]
    np.testing.assert_allclose(as_theirs(ours, gradient), expected, rtol=1e-7, atol=1e-9)


def test_the_ways_agree_for_an_even_number_of_pairs(random, x64):
  x = random.normal(size=(2, 4, 5, 4)).transpose(0, 3, 1, 2)
  assert int(2.66 * 4) % 2 == 0
  plain, fast = (layers.Feedforward(kind) for kind in (PLAIN, FAST))
  shapes = jax.eval_shape(plain.init, jax.random.key(0), x)
  variables = jax.tree.map(lambda s: random.normal(size=s.shape), shapes)
  both = jax.jit(lambda v, x: (plain.apply(v, x), fast.apply(v, x)))
  np.testing.assert_allclose(*both(variables, x), rtol=1e-10)


@pytest.mark.parametrize(("dtype", "sorting"), [("float64", "pairs"), ("float32", "packed")])
def test_sorting_is_stable_and_undone(dtype, sorting, random, x64):
  """Values with ties, of both signs, zeros of both, infinite ones, tiny ones; float64 as ever."""
  special = [0.0, -0.0, np.inf, -np.inf, 1e-30, -1e-30, 1.5, -1.5, 3e38, -3e38]
  x = jnp.asarray(random.choice(special, (2, 3, 5, 60)).astype(dtype))
  kind = dataclasses.replace(PLAIN, sorting=sorting)
  order = jax.jit(ascending, static_argnums=0)(kind, x)
  np.testing.assert_array_equal(order.order, np.argsort(x, -1, kind="stable"))
  np.testing.assert_array_equal(move(x, order), np.sort(x, -1))
  np.testing.assert_array_equal(move_back(move(x, order), order), x)
  weights = jnp.asarray(random.normal(size=x.shape))
  moved = jax.grad(lambda x: (move(x, order) * weights).sum())(jnp.zeros_like(weights))
  np.testing.assert_array_equal(moved, move_back(weights, order))


def test_the_raw_mask_is_that_of_the_authors_and_finite(oracle, x64):
  fused, infrared, visible = oracle["rawmask/f_ir_vi"].T
  found = masks.raw_mask(visible, infrared, fused)
  np.testing.assert_allclose(found, oracle["rawmask/out_1e-8"], rtol=0, atol=1e-9)
  # A denominator of exactly 0, which is infinite or not a number in the authors' code.
  for numerator, expected in ((0.25, 1.0), (-0.25, 0.0), (0.0, 0.0)):
    value, slope = jax.value_and_grad(lambda n: masks.share(n, jnp.zeros(())))(numerator)
    assert value == expected and np.isfinite(slope)


@pytest.mark.parametrize(("quotient", "slope"), [(-0.1, 0), (0.0, 1), (0.3, 1), (1.0, 1), (1.1, 0)])
def test_the_gradient_of_the_cut_is_whole_at_both_ends(quotient, slope):
  assert jax.grad(masks.share)(quotient, jnp.ones(())) == slope


def test_the_first_mask_needs_no_subtraction(random, x64):
  visible = np.maximum(random.normal(size=(4, 5)), 0)
  infrared = np.maximum(random.normal(size=(4, 5)), 0)
  weights = random.normal(size=(4, 5))

  def general(visible, infrared):
    return (weights * masks.raw_mask(visible, infrared, visible + infrared)).sum()

  def first(visible, infrared):
    return (weights * masks.first_raw_mask(visible)).sum()

  both = jax.jit(lambda v, i: [jax.grad(f, (0, 1))(v, i) for f in (general, first)])
  slopes = both(visible, infrared)
  inside = visible > 0  # where it is 0 a ReLU stops the gradient
  for one, other in zip(*slopes, strict=True):
    np.testing.assert_allclose(one * inside, other * inside, atol=1e-6)
