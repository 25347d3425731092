"""Every way of computing a training step against the plain one: gradients, statistics, metrics.

In float64: in float32 rounding decides signs of differences, and a blank view divides it by the
root of BatchNorm's epsilon, layer after layer. The operations' own tests have float32.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full import FULL
from jax.sharding import Mesh, NamedSharding
from random_weights import random_state

from cfi_jax.core import config as config_lib
from cfi_jax.engine import sharding
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse import operations, recipes
from cfi_jax.systems.isfuse import step as step_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.procedure import make_parts
from cfi_jax.systems.isfuse.views import make_views

FUSED = {"kernels": "fused"}
FOLDED = {"fold_views": True}
PALLAS = FUSED | FOLDED | {"attention": "pallas"}
PACKED = PALLAS | {"layout": "packed"}
# One level where sizes do not matter: a third of the network compiles in a third of the time.
PAPER = {"gate": "paper", "shared_encoder": True, "padding": "reflect", "levels": 1}
ONE = {"levels": 1}
# Every way, and all of them together, in one network, whose plain step is computed once. With
# CFI_JAX_FULL=1 across levels, in the released network and with the other normalisation, too.
STEPS = [(way, PAPER, "own") for way in (FUSED, FOLDED, PALLAS, PACKED)]
if FULL:
  STEPS += [(PACKED, {"levels": 2, "shared_encoder": True}, "original")]
  STEPS += [(FUSED, ONE, "own"), (PACKED, ONE, "original"), (PALLAS, ONE, "original")]
  STEPS += [(PACKED, PAPER, "original"), (PACKED, {"levels": 2}, "own")]


def parts_of(way, normalise="own", **network):
  """The parts of a step of a small network, computed that way."""
  values = recipes.released().to_dict()
  values["model"] |= operations.PLAIN | {"features": 16, "grid": 4} | network
  values["model"] |= {"dtype": "float64", "param_dtype": "float64"}
  values["model"] |= {name: value for name, value in way.items() if name != "fold_views"}
  values["fold_views"] = way.get("fold_views", False)
  values["loss"]["invariance"]["views"] = ("complementary",)
  values["loss"]["necessity"]["views"] = ("without_visible",)
  values["masks"]["size"] = (4, 8)
  values["statistics"] = {"normalise": normalise, "momentum": 0.9, "views": "original"}
  return make_parts(config_lib.build(Config, values), 3)


@functools.cache
def drawn():
  """The views of all steps."""
  images = np.random.default_rng(1).uniform(size=(2, 2, 16, 24, 1))
  return make_views(parts_of({}, **ONE), jax.random.key(2), Pair(*jnp.asarray(images)))


def taken(parts):
  """The state after one step, and its metrics, as float64 arrays by name."""
  state, views = random_state(parts), drawn()
  mesh = Mesh(np.array(jax.devices()[:1]), (sharding.AXIS,))
  with jax.set_mesh(mesh):
    pairs, places = step_lib.shares(views)
    pairs = jax.tree.map(lambda x, p: jax.device_put(x, NamedSharding(mesh, p)), pairs, places)
    state = jax.device_put(state, sharding.replicated(mesh))
    update = jax.jit(lambda s, p: step_lib.update(parts, s, step_lib.show(views, p)))
    new, metrics = update(state, pairs)
  found = {"gradients": new.opt_state[0].mu, "statistics": new.batch_stats, "metrics": metrics}
  leaves = jax.tree_util.tree_leaves_with_path(found)
  return {jax.tree_util.keystr(path): np.asarray(leaf, np.float64) for path, leaf in leaves}


def assert_near(found, expected, tolerance=1e-9):
  """Gradients by their norm, all together; statistics and metrics one by one."""
  assert found.keys() == expected.keys()
  # Adam makes steps of full size of gradients that are 0 but for rounding.
  expected = {name: x for name, x in expected.items() if "parameter_norm" not in name}
  gradients = [name for name in expected if "gradients" in name]
  off = sum(np.square(found[name] - expected[name]).sum() for name in gradients)
  assert off < tolerance**2 * sum(np.square(expected[name]).sum() for name in gradients)
  for name in expected.keys() - set(gradients):
    bound = tolerance * max(1.0, np.abs(expected[name]).max())
    np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=bound, err_msg=name)


@functools.cache
def plain(normalise="own", **network):
  """The step computed the plain way."""
  return taken(parts_of({}, normalise, **network))


@pytest.mark.parametrize(("way", "network", "normalise"), STEPS, ids=str)
def test_a_step_is_the_plain_one(x64, way, network, normalise):
  assert_near(taken(parts_of(way, normalise, **network)), plain(normalise, **network))
