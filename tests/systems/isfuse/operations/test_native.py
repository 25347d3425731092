"""The native operations against the plain ones in float64, and what they leave to plain JAX."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full import only_full
from random_weights import random_state

from cfi_jax.core import config as config_lib
from cfi_jax.fusion.types import Pair
from cfi_jax.native import functions
from cfi_jax.systems.isfuse import operations, recipes
from cfi_jax.systems.isfuse import step as step_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.operations import native
from cfi_jax.systems.isfuse.operations.native import Native
from cfi_jax.systems.isfuse.operations.plain import Plain
from cfi_jax.systems.isfuse.procedure import make_parts
from cfi_jax.systems.isfuse.views import make_views

pytestmark = pytest.mark.skipif(bool(functions.why_not()), reason=functions.why_not() or "-")


def maps(random, *shape):
  return random.standard_normal(shape).astype(np.float32)


def direction(random, features, batch):
  tokens = (batch, 9, features)
  kernel = maps(random, features, features) / np.float32(np.sqrt(features))
  return kernel, maps(random, features), maps(random, *tokens), maps(random, *tokens)


def arguments(random, name, c=16):
  """Arguments of the operation of that name: visible is everybody's where the plain one allows."""
  whole, half = maps(random, 2, 10, 14, c), maps(random, 2, 10, 14, c // 2)
  image, kernel = maps(random, 2, 10, 14, 1), maps(random, 3, 3, c, c) / np.float32(12)
  vectors = [maps(random, c) for _ in range(3)]
  shared = maps(random, 1, 10, 14, c)
  directions = (direction(random, c, 2), direction(random, c, 1))
  return {
    "block": (whole, kernel, *vectors, None),
    "block of an image": (image, kernel[:, :, :1], *vectors, None),
    "block, given": (whole, kernel, *vectors, (maps(random, c), np.square(maps(random, c)) + 1)),
    "halve": (whole,),
    "grid": (whole, 4),
    "attend": (shared, whole, directions),
    "mix": (half, maps(random, c // 2, 1), maps(random, 1), whole, shared, whole),
    "mix of a convolution": (whole, kernel[..., :1], maps(random, 1), whole, whole, shared),
    "enlarge": (maps(random, 2, 5, 7, c), whole),
    "enlarge by none": (whole, whole),
    "head": (whole, kernel[..., :1], maps(random, 1)),
  }[name]


NAMES = ["block", "block of an image", "block, given", "halve", "grid", "attend", "mix"]
NAMES += ["mix of a convolution", "enlarge", "enlarge by none", "head"]


def results(kind, name, values, dtype):
  """An operation's results, and gradients for cotangents that are the results' signs."""
  leaves, tree = jax.tree.flatten(values)
  is_map = [isinstance(leaf, np.ndarray) for leaf in leaves]
  operation = getattr(kind("reflect", jnp.dtype(dtype)), name.split(",")[0].split()[0])

  def run(*arrays):
    found = iter(arrays)
    return operation(
      *jax.tree.unflatten(
        tree, [next(found) if m else x for m, x in zip(is_map, leaves, strict=True)]
      )
    )

  @jax.jit  # one program compiles faster than its operations one by one
  def with_gradients(*arrays):
    out, pull = jax.vjp(run, *arrays)
    seed = jax.tree.map(lambda x: np.sin(np.arange(x.size)).reshape(x.shape).astype(x.dtype), out)
    return jax.tree.leaves((out, pull(seed)))

  maps = (jnp.asarray(x, dtype) for x, m in zip(leaves, is_map, strict=True) if m)
  return [np.asarray(x) for x in with_gradients(*maps)]


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_the_plain_one(random, name):
  values = arguments(random, name)
  with jax.enable_x64(True):
    expected = results(Plain, name, values, "float64")
  for found, exact in zip(results(Native, name, values, "float32"), expected, strict=True):
    assert found.dtype == np.float32
    assert np.linalg.norm(found - exact) < 3e-6 * max(np.linalg.norm(exact), 1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernels_do_not_take_is_plain_and_said(random, name, caplog):
  native._say.cache_clear()
  with caplog.at_level(logging.WARNING):
    found = results(Native, name, arguments(random, name, 10), "float32")
  for a, b in zip(
    found,
    results(Plain, name, arguments(np.random.default_rng(1), name, 10), "float32"),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
  assert "neither 1 nor a multiple of 4" in caplog.text


def parts_of(kernels, dtype, fold_views=False, **network):
  values = recipes.released().to_dict()
  values["model"] |= operations.PLAIN | {"features": 16, "grid": 4, "levels": 1} | network
  values["model"] |= {"kernels": kernels, "dtype": dtype, "param_dtype": dtype}
  values["loss"]["invariance"]["views"] = ("complementary",)
  values["loss"]["necessity"]["views"] = ("without_visible",)
  values["masks"]["size"] = (4, 8)
  return make_parts(config_lib.build(Config, values | {"fold_views": fold_views}), 3)


@functools.cache
def drawn():
  """The views of all steps, the same in every precision."""
  images = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 2, 16, 20, 1)))
  return make_views(parts_of("plain", "float64"), jax.random.key(2), Pair(*images))


def step(kernels, dtype, fold_views=False, **network):
  """Gradients' first moments after one step of a small network, as float64 arrays."""
  parts = parts_of(kernels, dtype, fold_views, **network)
  pairs, _ = step_lib.shares(drawn())
  views = step_lib.show(drawn(), jax.tree.map(lambda x: x.astype(dtype), pairs))
  new, _ = jax.jit(lambda s: step_lib.update(parts, s, views))(random_state(parts))
  return [np.asarray(x, np.float64) for x in jax.tree.leaves(new.opt_state[0].mu)]


RELEASED = {"levels": 2}
PAPER = {"gate": "paper", "shared_encoder": True, "levels": 1}


@pytest.mark.parametrize(
  ("network", "foldings"),
  [pytest.param(RELEASED, (False,), marks=only_full), (PAPER, (False, True))],
  ids=str,
)
def test_a_training_step_is_the_plain_one(x64, network, foldings):
  exact = step("plain", "float64", **network)
  scale = np.sqrt(sum(np.square(x).sum() for x in exact))
  for fold_views in foldings:
    found = step("native", "float32", fold_views, **network)
    off = np.sqrt(sum(np.square(a - b).sum() for a, b in zip(found, exact, strict=True)))
    assert off < 2e-5 * scale, off / scale
