"""The native kernels against plain JAX in float64: values, gradients, groups and devices."""

import functools
import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.images import ops
from cfi_jax.native import functions

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}
TOLERANCE = 3e-6  # of a norm

pytestmark = pytest.mark.skipif(bool(functions.why_not()), reason=functions.why_not() or "-")


def convolve(x, w, b, border):
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=MODES[border])
  y = jax.lax.conv_general_dilated(
    x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
  )
  return y + b.reshape(1, 1, 1, -1)


def activate(y, mean, var, scale, offset):
  mean, var, scale, offset = (a.reshape(1, 1, 1, -1) for a in (mean, var, scale, offset))
  u = (y - mean) * (scale / jnp.sqrt(var + functions.EPSILON)) + offset
  return jnp.where(u > 0, u, functions.LEAK * u)


def plain_block(x, w, b, scale, offset, border):
  y = convolve(x, w, b, border)
  mean = y.mean((0, 1, 2))
  var = jnp.square(y - mean.reshape(1, 1, 1, -1)).mean((0, 1, 2))
  return activate(y, mean, var, scale, offset), mean, var


def plain_given(x, w, b, scale, offset, mean, var, border):
  return activate(convolve(x, w, b, border), mean, var, scale, offset)


def plain_attend(*arrays):
  total = 0
  for x, key, shift, value in (arrays[:4], arrays[4:]):
    scores = jnp.matmul(x, key.swapaxes(1, 2), precision="highest") + shift[:, None]
    total += jnp.matmul(jax.nn.softmax(scores), value, precision="highest")
  return total


def plain_mix(hidden, w, bias, cross, visible, infrared):
  logits = (hidden * w.reshape(1, 1, 1, -1)).sum(-1, keepdims=True)
  gate = jax.nn.sigmoid(logits + bias.reshape(1, 1, 1, 1))
  return gate, gate * cross + (1 - gate) * (visible + infrared)


def results(function, arrays, dtype):
  """A function's results and its gradients for random cotangents, as a flat list."""
  draw = np.random.default_rng(5)
  given = [jnp.asarray(a, dtype) for a in arrays]
  shapes = jax.eval_shape(function, *given)
  seeds = jax.tree.map(lambda x: jnp.asarray(draw.standard_normal(x.shape), dtype), shapes)

  @jax.jit  # one program compiles faster than its operations one by one
  def with_gradients(seeds, *arrays):
    out, pull = jax.vjp(function, *arrays)
    return out, pull(seeds)

  return [np.asarray(leaf) for leaf in jax.tree.leaves(with_gradients(seeds, *given))]


def assert_equal(native, plain, arrays, tolerance=TOLERANCE):
  with jax.enable_x64(True):
    expected = results(plain, arrays, jnp.float64)
  for i, (a, b) in enumerate(zip(results(native, arrays, jnp.float32), expected, strict=True)):
    assert a.shape == b.shape
    off = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)
    assert off < tolerance, f"result {i} of shape {a.shape} is off by {off}"


def normal(random, *shape):
  return random.standard_normal(shape).astype(np.float32)


def layer(random, batch, height, width, inputs, outputs):
  """Arguments of a block: maps, kernel, bias, scale, offset."""
  kernel = normal(random, 3, 3, inputs, outputs) / np.float32(np.sqrt(9 * inputs))
  vectors = [normal(random, outputs) for _ in range(3)]
  return [normal(random, batch, height, width, inputs), kernel, *vectors]


LAYERS = [
  ((2, 23, 37, 32, 32), "reflect"),
  ((1, 9, 12, 32, 16), "zeros"),
  ((1, 17, 30, 24, 12), "replicate"),
  ((2, 8, 5, 8, 8), "zeros"),
  ((1, 70, 13, 8, 4), "reflect"),
  ((1, 2, 2, 64, 64), "reflect"),
  ((1, 1, 3, 40, 20), "replicate"),
  ((2, 19, 25, 1, 32), "reflect"),
  ((1, 6, 7, 1, 24), "zeros"),
]


@pytest.mark.parametrize("sides, border", LAYERS, ids=str)
def test_a_block_is_the_plain_one(random, sides, border):
  arrays = layer(random, *sides)
  native = lambda *a: functions.block(*a, border)  # noqa: E731
  assert_equal(native, lambda *a: plain_block(*a, border), arrays)


@pytest.mark.parametrize("sides, border", LAYERS[:3] + LAYERS[-1:], ids=str)
def test_a_block_with_given_moments_is_the_plain_one(random, sides, border):
  outputs = sides[-1]
  moments = [normal(random, outputs), np.square(normal(random, outputs)) + np.float32(0.5)]
  arrays = layer(random, *sides) + moments
  native = lambda *a: functions.block_given(*a, border)  # noqa: E731
  assert_equal(native, lambda *a: plain_given(*a, border), arrays)
  # Without a gradient it is one kernel.
  assert_equal(
    lambda *a: jax.lax.stop_gradient(native(*a)),
    lambda *a: jax.lax.stop_gradient(plain_given(*a, border)),
    arrays,
  )


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("features", [8, 24, 32])
def test_a_head_is_the_plain_one(random, features, border):
  arrays = layer(random, 2, 11, 6, features, 1)[:3]
  assert_equal(lambda *a: functions.head(*a, border), lambda *a: convolve(*a, border), arrays)


@pytest.mark.parametrize("border", ["reflect", "replicate"])
def test_a_blank_view_has_no_variance_and_exact_values(random, border):
  _, w, b, scale, offset = layer(random, 1, 1, 1, 16, 32)
  x = np.broadcast_to(normal(random, 1, 1, 1, 16), (2, 37, 29, 16))
  z, _, var = functions.block(*map(jnp.asarray, (x, w, b, scale, offset)), border)
  np.testing.assert_array_equal(var, 0)
  expected = np.where(offset > 0, offset, np.float32(functions.LEAK) * offset)
  np.testing.assert_array_equal(z, np.broadcast_to(expected, z.shape))


@pytest.mark.parametrize(
  "batch, pixels, tokens, features",
  [(2, 130, 64, 32), (3, 50, 9, 8), (1, 300, 16, 64), (2, 7, 100, 24)],
)
@pytest.mark.parametrize("shared", [(), (0,), (1, 2, 3), (0, 5, 6, 7)], ids=str)
def test_attention_is_the_plain_one(random, batch, pixels, tokens, features, shared):
  x, token = (pixels, features), (tokens, features)
  shapes = [x, token, (tokens,), token] * 2
  arrays = [normal(random, 1 if i in shared else batch, *s) for i, s in enumerate(shapes)]
  arrays[0] /= np.float32(np.sqrt(features))
  assert_equal(functions.attend, plain_attend, arrays)


@pytest.mark.parametrize("hidden, features", [(16, 32), (1, 32), (4, 8), (12, 24)])
@pytest.mark.parametrize("shared", [(), (0,), (1,), (0, 1)], ids=str)
def test_mixing_is_the_plain_one(random, hidden, features, shared):
  sides, batch = (32, 19), 3
  maps = [normal(random, 1 if i in shared else batch, *sides, features) for i in range(2)]
  cross = normal(random, batch, *sides, features)
  vectors = [normal(random, hidden), normal(random, 1)]
  arrays = [normal(random, batch, *sides, hidden), *vectors, cross, *maps]
  assert_equal(functions.mix, plain_mix, arrays)


@pytest.mark.parametrize("sides", [(2, 16, 24, 32), (1, 17, 9, 8), (2, 5, 7, 24), (1, 2, 3, 8)])
def test_maps_of_other_sizes_are_the_plain_ones(random, sides):
  batch, height, width, features = sides
  x = normal(random, *sides)
  ties = np.round(x)
  assert_equal(functions.halve, lambda x: nn.max_pool(x, (2, 2), (2, 2)), [ties])
  for grid in (1, 3, 8):
    native = functools.partial(functions.grid_mean, grid=grid)
    assert_equal(native, functools.partial(ops.average_pool, grid=grid), [x])
  for small in ((height // 2, width // 2), (1, width), (height, max(1, width // 3))):
    arrays = [normal(random, batch, *small, features), x]
    assert_equal(functions.enlarge, lambda x, s: ops.resize(x, *s.shape[1:3]) + s, arrays)


def test_groups_of_vmap_are_calls_of_their_own(random):
  """Arguments with and without the axis, one vmap and two."""
  x, *parameters = layer(random, 2, 9, 7, 8, 8)
  xs = normal(random, 2, 3, *x.shape)

  def gradients(x, *parameters):
    out, pull = jax.vjp(lambda *a: functions.block(*a, "reflect"), x, *parameters)
    return out, pull(jax.tree.map(jnp.sin, out))

  def each(x):
    return gradients(x, *parameters)

  once, twice = jax.vmap(each)(xs[0]), jax.jit(jax.vmap(jax.vmap(each)))(xs)
  for group in range(3):
    alone = each(xs[0, group])
    for a, b, c in zip(*map(jax.tree.leaves, (alone, once, twice)), strict=True):
      np.testing.assert_allclose(a, b[group], rtol=1e-5, atol=1e-5)
      np.testing.assert_allclose(a, c[0, group], rtol=1e-5, atol=1e-5)
  tokens = [normal(random, 1, 9, 8), normal(random, 1, 9), normal(random, 1, 9, 8)]
  pixels = normal(random, 3, 2, 20, 8)
  attend = lambda x: functions.attend(x, *tokens, x, *tokens)  # noqa: E731
  for alone, group in zip(map(attend, pixels), jax.vmap(attend)(pixels), strict=True):
    np.testing.assert_array_equal(alone, group)


def test_arrays_that_do_not_fit_are_refused_by_name(random):
  x, w, *vectors = layer(random, 1, 8, 8, 6, 6)
  with pytest.raises(jax.errors.JaxRuntimeError, match="input channels are neither 1 nor"):
    jax.block_until_ready(functions.block(x, w, *vectors, "zeros"))


SHARES = """
import json, os, sys
threads = int(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import hashlib, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from cfi_jax.engine import sharding
from cfi_jax.native import functions
random = np.random.default_rng(0)
x = random.standard_normal((4, 24, 20, 8)) + 3
w, *vectors = random.standard_normal((3, 3, 8, 16)) / 9, *random.standard_normal((3, 16))
arguments = [jnp.asarray(a, jnp.float32) for a in (x, w, *vectors)]

def gradients(devices):
  def run(*a):
    out, pull = jax.vjp(lambda *a: functions.block(*a, "reflect", devices), *a)
    seed = jnp.sign(jnp.sin(1e3 * a[0])).repeat(2, -1)
    dx, *parameters = pull((seed, *jnp.ones((2, 16)) / devices.count()))
    return out, dx, devices.total(parameters)
  return run

alone = jax.jit(gradients(functions.ALONE))(*arguments)
digest = hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(alone)))
devices = functions.Devices(sharding.total, sharding.count, sharding.moments)
mesh = Mesh(np.array(jax.devices()), ("data",))
share, whole = P("data"), P()
shared = jax.jit(jax.shard_map(gradients(devices), mesh=mesh, in_specs=(share,) + (whole,) * 4,
  out_specs=((share, whole, whole), share, [whole] * 4), check_vma=False))
text = shared.lower(*arguments).compile().as_text()
found = shared(*arguments)
off = [float(jnp.linalg.norm(a - b) / jnp.maximum(jnp.linalg.norm(a), 1)) for a, b in
       zip(jax.tree.leaves(alone), jax.tree.leaves(found), strict=True)]
blank = [jnp.broadcast_to(jnp.float32(1 / 3), x.shape), *arguments[1:]]
exact = float(jnp.max(shared(*blank)[0][2]))
print(json.dumps([digest.hexdigest(), off, exact, text.count(" all-reduce(")]))
"""


def shares(threads):
  flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
  environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-c", SHARES, str(threads)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be bounded here")
def test_four_devices_are_one_and_threads_change_no_bit():
  digest, off, exact, messages = shares(1)
  assert max(off) < 2e-6
  assert exact == 0
  assert messages <= 3  # moments, their gradient, parameters
  assert shares(2)[0] == digest
