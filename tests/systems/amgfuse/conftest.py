"""Numbers of the authors' code in float64 (tests/fixtures/amgfuse.npz), and weights by its rule.

The fixture was made for this project by running that code, commit 6d92e3a of ixilai/AMG-Fuse (MIT),
unchanged but for `Tensor.cuda`, `Tensor.float` and a stable `Tensor.sort`, with torch 2.13. Images
are [B, C, H, W]. blk/CASE: a block with its inputs, outputs and gradients of the sum of all outputs
times `uniform(f"blk/CASE/cot{i}")`. reduced: whole networks. train: two steps. Weights of every
tensor are a function of its name, see `weight`.
"""

import functools
import pathlib
import zlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse import torch_names, ways

REDUCED = dict(
  name="amgfuse", width=24, blocks=(1, 2, 1, 2), heads=(2, 4, 6, 8), refinement=1, mask=True,
  gate=True, masked_by="visible", prior="none", fold=1,
)  # fmt: skip
RESTORATION = dict(
  name="restoration", width=8, blocks=(1, 1, 1, 1), heads=(1, 2, 4, 8), refinement=1
)
WHOLE = dict(width=48, blocks=(4, 6, 6, 8), refinement=2)  # of both networks
FLOAT64 = dict(dtype="float64", param_dtype="float64")


@pytest.fixture(scope="session")
def oracle():
  """All arrays of the fixture."""
  path = pathlib.Path(__file__).parents[2] / "fixtures" / "amgfuse.npz"
  with np.load(path) as arrays:
    return dict(arrays)


def uniform(key, shape):
  """Numbers in [-1, 1] that belong to a name and a shape."""
  random = np.random.RandomState(zlib.crc32(key.encode()))
  return 2 * random.random_sample(int(np.prod(shape))).reshape(shape) - 1


def weight(name, shape):
  """The tensor of that name in the authors' state dict."""
  if name.endswith("temperature"):
    return 1 + 0.5 * uniform(name, shape)
  if len(shape) == 1:
    return 1 + 0.2 * uniform(name, shape) if ".body.weight" in name else 0.1 * uniform(name, shape)
  gain = 0.3 if name.startswith("output_") or name.endswith("res.output.weight") else 1
  return gain * uniform(name, shape) * np.sqrt(3 / np.prod(shape[1:]))


def generated(network, prefix=""):
  """Variables of a network in float64 by the rule of `weight`."""
  levels = len(network.blocks)
  shapes = jax.eval_shape(lambda: model_lib.init(network, jax.random.key(0)))["params"]
  leaves = {}
  for path, shape in traverse_util.flatten_dict(shapes).items():
    name = torch_names.torch_name(path, levels)
    theirs = torch_names.to_theirs(np.zeros(shape.shape), name).shape
    leaves[path] = torch_names.to_ours(weight(prefix + name, theirs), shape.shape)
  return {"params": traverse_util.unflatten_dict(leaves)}


@functools.cache
def both(whole):
  """Options and variables of the fusion and the restoration network; whole: of full size."""
  with jax.enable_x64(True):
    made = []
    for options, prefix in ((REDUCED, ""), (RESTORATION, "res.")):
      options = options | (WHOLE if whole else {})
      network = model_lib.make_model({**options, **ways.PLAIN, **FLOAT64})
      made.append((options, generated(network, prefix)))
  return made


@pytest.fixture(scope="session")
def reduced():
  """A function (whole, **ways) -> (network, variables, restoration, its variables), in float64."""

  def make(whole=False, **chosen):
    with jax.enable_x64(True):
      made = [
        (model_lib.make_model({**options, **ways.PLAIN, **FLOAT64, **chosen}), variables)
        for options, variables in both(whole)
      ]
    return *made[0], *made[1]

  return make


@pytest.fixture(scope="session")
def options():
  """The architectures of both reduced networks."""
  return REDUCED, RESTORATION


@pytest.fixture(scope="session")
def rule():
  """The functions `uniform` and `weight`."""
  return uniform, weight


@pytest.fixture(scope="session")
def pixels():
  """Turns [B, C, H, W] into [B, H, W, C]."""
  return lambda x: np.transpose(x, (0, 2, 3, 1))
