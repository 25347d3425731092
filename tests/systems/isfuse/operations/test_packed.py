"""Operations on packed maps against the plain ones, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.systems.isfuse.operations.packed import Packed, expand, pack, unpack
from cfi_jax.systems.isfuse.operations.plain import PADDINGS, Plain

DTYPES = {"float64": 1e-10, "float32": 2e-5}
C, T = 16, 16


def arrays(seed, *shapes):
  random = np.random.default_rng(seed)
  return [jnp.asarray(random.normal(size=shape)) for shape in shapes]


def assert_same(of_operations, maps, others, dtypes=tuple(DTYPES), **ways):
  """A function of the operations, then of maps and other arrays, and its gradients.

  On packed maps in each dtype as on plain ones in float64.
  """

  def run(function, dtype, convert, back):
    def whole(maps, others):
      outs = jax.tree.leaves(function(*map(convert, maps), *others))
      return [back(x) if x.shape[-1] == 4 * C else x for x in outs]

    @jax.jit  # one program compiles faster than its operations one by one
    def with_gradients(maps, others):
      outs, vjp = jax.vjp(whole, maps, others)
      ramps = [jnp.sin(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape) for x in outs]
      return jax.tree.leaves((outs, vjp(ramps)))

    return with_gradients(*jax.tree.map(lambda x: x.astype(dtype), (maps, others)))

  plain, _ = both("float64", **ways)
  expected = run(of_operations(plain), "float64", lambda x: x, lambda x: x)
  for dtype in dtypes:
    found = run(of_operations(both(dtype, **ways)[1]), dtype, pack, unpack)
    for one, other in zip(found, expected, strict=True):
      bound = DTYPES[dtype] * max(1.0, float(jnp.abs(other).max()))
      np.testing.assert_allclose(one, other, rtol=0, atol=bound)


def both(dtype, padding="zeros", attention="matmul"):
  return Plain(padding, jnp.dtype("float64")), Packed(padding, jnp.dtype(dtype), attention)


@pytest.mark.parametrize("padding", PADDINGS)
def test_block(x64, padding):
  x, *others = arrays(0, (2, 8, 12, 8), (3, 3, 8, C), (C,), (C,), (C,))
  others[0] /= 9
  assert_same(lambda o: lambda x, *w: o.block(x, *w, None), [x], others, padding=padding)


@pytest.mark.parametrize("name", ["halve", "grid", "ragged grid", "enlarge"])
def test_sizes(x64, name):
  maps = arrays(1, (2, 8, 12, C), (2, 16, 24, C))
  maps, extra = {
    "halve": (maps[:1], []),
    "grid": (maps[:1], [4]),
    "ragged grid": (maps[:1], [5]),
    "enlarge": (maps, []),
  }[name]
  name = name.removeprefix("ragged ")
  assert_same(lambda o: lambda *x: getattr(o, name)(*x, *extra), maps, [])


def test_ties_give_their_gradient_to_the_first_maximum(x64):
  x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 8, 12, C)) * 1.0)
  assert_same(lambda o: o.halve, [x], [], ["float64"])


@pytest.mark.parametrize("gate", ["released", "paper"])
def test_mix(x64, gate):
  hidden = 8 if gate == "released" else C
  maps = arrays(2, (2, 8, 12, hidden), (2, 8, 12, C), (2, 8, 12, C), (1, 8, 12, C))
  head = arrays(3, (hidden, 1) if gate == "released" else (3, 3, hidden, 1), (1,))
  head[0] /= 9

  def order(operations):
    return lambda x, c, v, i, kernel, bias: operations.mix(x, kernel, bias, c, v, i)

  assert_same(order, maps, head, padding="reflect")


@pytest.mark.parametrize("attention", ["matmul", "pallas"])
def test_attend(x64, attention):
  maps = arrays(4, (2, 8, 12, C), (1, 8, 12, C))
  directions = [arrays(5 + b, (C, C), (C,), (b, T, C), (b, T, C)) for b in (1, 2)]
  for direction in directions:
    direction[0] /= 4
  assert_same(lambda o: lambda v, i, *d: o.attend(v, i, d), maps, directions, attention=attention)


def test_packing_is_undone_and_says_where_pixels_are():
  x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
  packed = pack(x)
  np.testing.assert_array_equal(unpack(packed), x)
  np.testing.assert_array_equal(packed[1, 1, 2], x[1, 2:4, 4:6].reshape(-1))


def test_an_expanded_kernel_has_every_weight_of_every_phase():
  kernel = jnp.arange(1.0, 10).reshape(3, 3, 1, 1)
  whole = expand(kernel)
  assert whole.shape == (3, 3, 4, 4)
  np.testing.assert_array_equal(whole.sum((0, 1, 2)), [45] * 4)


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_a_grid_of_whole_cells(x64, size):
  assert_same(lambda o: lambda x: o.grid(x, 4), arrays(8, (2, *size, C)), [])


@pytest.mark.parametrize("padding", PADDINGS)
def test_head_and_block_of_an_image(x64, padding):
  maps = arrays(9, (2, 8, 12, 8))
  head = arrays(10, (3, 3, 8, 1), (1,))
  assert_same(lambda o: o.head, maps, head, ["float64"], padding=padding)
  image = arrays(11, (2, 8, 12, 1))
  weights = arrays(12, (3, 3, 1, C), (C,), (C,), (C,))

  def of_image(operations):
    flat = (lambda x: x) if type(operations) is Plain else unpack
    return lambda x, *w: operations.block(operations.enter(flat(x)), *w, None)[0]

  assert_same(of_image, image, weights, ["float64"], padding=padding)


CELLS = (2, 4, 6, 4 * C)
VIEWS = {
  "block": (lambda o, x, *w: o.block(x, *w, None), CELLS, (3, 3, C, C), (C,), (C,), (C,)),
  "mix": (lambda o, *x: o.mix(*x), (2, 4, 6, 32), (8, 1), (1,), CELLS, CELLS, CELLS),
  "attend": (
    lambda o, v, i, *d: o.attend(v, i, (d[:4], d[4:])),
    *(CELLS, CELLS),
    *((C, C), (C,), (2, T, C), (2, T, C)) * 2,
  ),
  "grid": (lambda o, x: o.grid(x, 2), CELLS),
  "halve": (lambda o, x: o.halve(x), CELLS),
  "enlarge": (lambda o, x, skip: o.enlarge(x, skip), (2, 2, 3, 4 * C), CELLS),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_at_once_are_the_views_one_by_one(x64, name):
  function, *shapes = VIEWS[name]
  packed = both("float64", attention="pallas")[1]
  inputs = arrays(13, *((2, *shape) for shape in shapes))

  @jax.jit
  def run(*inputs):
    outs, vjp = jax.vjp(lambda *x: function(packed, *x), *inputs)
    return outs, vjp(jax.tree.map(jnp.sin, outs))

  views = [run(*(x[i] for x in inputs)) for i in range(2)]
  expected = jax.tree.map(lambda *x: jnp.stack(x), *views)
  found = jax.jit(jax.vmap(run))(*inputs)
  for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-10 * max(1, jnp.abs(other).max()))


@pytest.mark.parametrize("level", [0.0, 0.3, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_constant_maps_have_no_variance_and_become_the_offset(level, dtype):
  """A variance that cancels would be 1e-7 of the square, and gradients 316 times it."""
  kernel = jnp.zeros((3, 3, C, C)).at[1, 1].set(jnp.eye(C))  # the image itself, no border
  bias, scale, offset = (x.astype("float32") for x in arrays(14, (C,), (C,), (C,)))
  packed = Packed("zeros", jnp.dtype(dtype))
  z, (_, var) = packed.block(jnp.full(CELLS, level, dtype), kernel, bias, scale, offset, None)
  np.testing.assert_array_equal(var, 0)
  expected = jnp.where(offset > 0, offset, 0.01 * offset.astype(dtype)).astype(dtype)
  np.testing.assert_array_equal(z, jnp.broadcast_to(jnp.tile(expected, 4), z.shape))
