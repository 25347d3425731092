"""Operations with few passes over memory against the plain ones, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse.operations import sampling
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.plain import PADDINGS, Plain

DTYPES = {"float64": 1e-10, "float32": 2e-5}
C = 16


def arrays(dtype, *shapes):
  random = np.random.default_rng(5)
  return [jnp.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def block(operations, x, kernel, bias, scale, offset):
  return operations.block(x, kernel, bias, scale, offset, None)


def given_block(operations, x, kernel, bias, scale, offset, mean, var):
  return operations.block(x, kernel, bias, scale, offset, (mean, jnp.square(var)))[0]


def mix(operations, x, kernel, bias, *maps):
  return operations.mix(x, kernel, bias, *maps)


def attend(operations, visible, infrared, *directions):
  return operations.attend(visible, infrared, (directions[:4], directions[4:]))


def grid(operations, x):
  return operations.grid(x, 4)


def halve(operations, x):
  # Whole numbers, so that many of a square's pixels are its largest.
  return operations.halve(jnp.round(x) + 0 * x)


def enlarge(operations, x, skip):
  return operations.enlarge(x, skip)


MAP, ONE = (2, 16, 24, C), (1, 16, 24, C)
KERNEL = ((3, 3, C, C), (C,))


def direction(rows):
  return ((C, C), (C,), (rows, 16, C), (rows, 16, C))


CASES = {
  "block": (block, MAP, *KERNEL, (C,), (C,)),
  "block of one": (block, ONE, *KERNEL, (C,), (C,)),
  "block by given moments": (given_block, MAP, *KERNEL, (C,), (C,), (C,), (C,)),
  "released gate": (mix, (2, 16, 24, 8), (8, 1), (1,), MAP, MAP, MAP),
  "paper's gate": (mix, MAP, (3, 3, C, 1), (1,), MAP, MAP, MAP),
  "gate of a blank visible": (mix, (2, 16, 24, 8), (8, 1), (1,), MAP, ONE, MAP),
  "gate of a blank infrared": (mix, (2, 16, 24, 8), (8, 1), (1,), MAP, MAP, ONE),
  "attention": (attend, MAP, MAP, *direction(2), *direction(2)),
  "attention with a blank visible": (attend, ONE, MAP, *direction(2), *direction(1)),
  "attention with a blank infrared": (attend, MAP, ONE, *direction(1), *direction(2)),
  "grid": (grid, MAP),
  "grid that does not divide": (grid, (2, 13, 24, C)),
  "halve": (halve, MAP),
  "halve of odd sizes": (halve, (2, 13, 25, C)),
  "enlarge": (enlarge, (2, 8, 12, C), MAP),
  "enlarge to odd sizes": (enlarge, (2, 8, 12, C), (2, 17, 25, C)),
}


def with_gradients(function, inputs):
  """Results, and gradients towards all inputs of a weighted sum of them."""

  def weighted(*inputs):
    results = jax.tree.leaves(function(*inputs))
    return sum((x * jnp.sin(3.0 * jnp.arange(x.size)).reshape(x.shape)).sum() for x in results)

  # One program compiles faster than its operations one by one.
  gradients = jax.grad(weighted, argnums=tuple(range(len(inputs))))
  both = jax.jit(lambda *inputs: (function(*inputs), gradients(*inputs)))
  return [np.asarray(x, np.float64) for x in jax.tree.leaves(both(*inputs))]


def assert_same(found, expected, tolerance):
  for one, other in zip(found, expected, strict=True):
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))


@pytest.mark.parametrize("name", CASES)
def test_every_operation_is_the_plain_one(x64, name):
  function, *shapes = CASES[name]
  inputs = arrays("float32", *shapes)
  exact = [x.astype("float64") for x in inputs]
  plain = functools.partial(function, Plain("zeros", jnp.dtype("float64")))
  expected = with_gradients(plain, exact)
  for dtype, tolerance in DTYPES.items():
    fused = functools.partial(function, Fused("zeros", jnp.dtype(dtype), "pallas"))
    assert_same(with_gradients(fused, [x.astype(dtype) for x in inputs]), expected, tolerance)


@pytest.mark.parametrize("padding", PADDINGS)
def test_every_padding_is_the_plain_one(x64, padding):
  inputs = arrays("float64", MAP, *KERNEL, (C,), (C,))
  ways = [kind(padding, jnp.dtype("float64")) for kind in (Fused, Plain)]
  found, expected = (with_gradients(functools.partial(block, way), inputs) for way in ways)
  assert_same(found, expected, 1e-10)


@pytest.mark.parametrize("name", ["block", "released gate", "attention", "halve", "enlarge"])
def test_views_at_once_are_the_views_one_by_one(x64, name):
  function, *shapes = CASES[name]
  inputs = arrays("float64", *((3, *shape) for shape in shapes))
  run = functools.partial(function, Fused("zeros", jnp.dtype("float64"), "pallas"))
  found = with_gradients(jax.vmap(run), inputs)

  def one_by_one(*inputs):
    views = [run(*(x[i] for x in inputs)) for i in range(3)]
    return jax.tree.map(lambda *x: jnp.stack(x), *views)

  assert_same(found, with_gradients(one_by_one, inputs), 1e-10)


@pytest.mark.parametrize("level", [0.0, 0.3, -7.7, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_constant_maps_have_no_variance_and_become_the_offset(level, dtype):
  """A variance that cancels would be 1e-7 of the square, and gradients 316 times it."""
  x = jnp.full(MAP, level, dtype)
  kernel = jnp.zeros((3, 3, C, C)).at[1, 1].set(jnp.eye(C))  # the image itself, no border
  _, bias, scale, offset = arrays("float32", (1,), (C,), (C,), (C,))
  operations = Fused("zeros", jnp.dtype(dtype))
  z, (mean, var) = operations.block(x, kernel, bias, scale, offset, None)
  y = operations.convolve(x, kernel, bias).astype("float32")
  np.testing.assert_array_equal(var, 0)
  np.testing.assert_array_equal(mean, y[0, 0, 0])
  expected = jnp.where(offset > 0, offset, 0.01 * offset.astype(dtype)).astype(dtype)
  np.testing.assert_array_equal(z, jnp.broadcast_to(expected, z.shape))


def test_a_small_variance_beside_a_large_mean_is_exact():
  x = arrays("float32", MAP)[0] * 1e-2 + 300
  kernel = jnp.zeros((3, 3, C, C)).at[1, 1].set(jnp.eye(C))
  operations = Fused("replicate", jnp.dtype("float32"))
  _, (_, var) = operations.block(x, kernel, *jnp.zeros((3, C)), None)
  exact = np.asarray(operations.convolve(x, kernel, jnp.zeros(C)), np.float64).var((0, 1, 2))
  np.testing.assert_allclose(var, exact, rtol=1e-4)


def test_four_devices_are_one(x64):
  x, *weights = arrays("float64", (4, 16, 24, C), *KERNEL, (C,), (C,))
  operations = Fused("zeros", jnp.dtype("float64"))

  def results(mesh):
    def of_share(x, weights):
      def loss(x, weights):
        z, moments = operations.block(x, *weights, None)
        # Every device's share of a loss that follows the moments, too.
        terms = (jnp.sin(3.0 * z).sum(), *(jnp.cos(m).sum() / sharding.count() for m in moments))
        return sum(terms), (z, moments)

      gradients, (z, moments) = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, weights)
      return z, gradients[0], (moments, sharding.total(gradients[1]))

    split, whole = sharding.SPLIT, sharding.WHOLE
    with jax.set_mesh(mesh):
      run = sharding.on_shares(of_share, (split, whole), (split, split, whole))
      return [np.asarray(x) for x in jax.tree.leaves(jax.jit(run)(x, tuple(weights)))]

  meshes = [Mesh(np.array(jax.devices()[:n]), (sharding.AXIS,)) for n in (4, 1)]
  found, expected = map(results, meshes)
  assert_same(found, expected, 1e-10)


def test_a_tie_gives_its_gradient_to_the_first_pixel():
  x = jnp.zeros((1, 2, 3, 1))
  gradient = jax.grad(lambda x: sampling.halve(x).sum())(x)
  np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0, 0], [0, 0, 0]])
