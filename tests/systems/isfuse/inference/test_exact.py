"""Folded, bucketed and tiled inference against the plain model on the exact size."""

import jax
import numpy as np
import pytest
from full import FULL, only_full

from cfi_jax.fusion.types import Pair
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse import torch_names
from cfi_jax.systems.isfuse.inference import Model


def plain(model, visible, infrared):
  """`Fusion` of the plain model, without folding, windows or tiles."""
  dtype = model.programs.dtype
  pair = Pair(*(image[..., None].astype(dtype) for image in (visible, infrared)))
  variables = jax.tree.map(lambda a: np.asarray(a, dtype), model.variables)
  return jax.jit(model.module.apply)(variables, pair)


def images(random, *shape):
  return random.random(shape), random.random(shape)


VARIANTS = [
  {"padding": "zeros"},
  {"padding": "reflect", "gate": "paper", "levels": 2},
  {"padding": "replicate", "shared_encoder": True, "levels": 2},
  {"padding": "zeros", "gate": "paper", "grid": 5, "levels": 2},
  {"padding": "reflect", "prior": "wavelet:planes=3", "levels": 2},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_folded_graph_equals_the_plain_model(x64, make_small, random, variant):
  model = make_small("float64", **variant)
  visible, infrared = images(random, 2, 29, 43)
  _, details = model.fuse(visible, infrared, return_details=True)
  expected = plain(model, visible, infrared)
  assert jax.tree.structure(details) == jax.tree.structure(expected)
  for got, want in zip(jax.tree.leaves(details), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(got, want, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
  ("padding", "levels", "prior"),
  [
    ("zeros", 3, "none"),
    ("replicate", 2, "none"),
    ("reflect", 2, "wavelet:planes=3"),
    pytest.param("replicate", 3, "none", marks=only_full),
    pytest.param("zeros", 4, "none", marks=only_full),
  ],
)
def test_bucket_and_tiles_equal_the_exact_size(x64, make_small, random, padding, levels, prior):
  model = make_small("float64", padding=padding, features=4, levels=levels, prior=prior)
  visible, infrared = images(random, 1, 77, 203)
  expected = plain(model, visible, infrared).fused[..., 0]
  model.reserve([(96, 208)])
  np.testing.assert_allclose(model.fuse(visible, infrared), expected, atol=1e-11, rtol=0)
  tiled = model.fuse(visible, infrared, memory_mb=0.01)
  kinds = {key[0] for key in model.programs.compiled}
  assert kinds == {"fuse", "pool", "tile"}
  np.testing.assert_allclose(tiled, expected, atol=1e-11, rtol=0)


def test_bucket_equals_the_exact_size_for_every_remainder(make_small, random):
  """Two buckets of different shapes against the plain model, which is compiled for each size.

  Four sizes in which height and width have every remainder of division by 4, which decides what a
  halving drops, where the windows of the level end, and how unequal the grid's 4 cells are. With
  CFI_JAX_FULL=1 eight, for two halvings and 8 cells.
  """
  count = 8 if FULL else 4
  one, other = (make_small(features=2, levels=2 + FULL, grid=count) for _ in range(2))
  sides = np.stack([random.permutation(np.arange(80, 80 + count)) for _ in range(2)])
  sides += count * random.integers(0, 2, sides.shape)
  sizes = sides.T.tolist()
  assert all(len({side % count for side in axis}) == count for axis in sides)
  one.reserve([*sizes, (96, 96)], limit=1)
  other.reserve([*sizes, (108, 120)], limit=1)
  for height, width in sizes:
    visible, infrared = (a.astype(np.float32) for a in images(random, 1, height, width))
    expected = plain(one, visible, infrared).fused[..., 0]
    for model in (one, other):
      np.testing.assert_allclose(model.fuse(visible, infrared), expected, atol=1e-5, rtol=0)
  assert one.programs.compiled == (("fuse", 1, 96, 96, True),)
  assert other.programs.compiled == (("fuse", 1, 108, 120, True),)


@pytest.fixture(scope="module")
def tiny(make_small):
  return make_small(features=2, grid=4)


# Several tiles in both directions, of even and of odd sizes. In the last the tiles own 64 (the
# smallest) of 193 and 257 pixels: the last one ends a pixel from the border.
@pytest.mark.parametrize(
  ("size", "memory_mb"),
  [((512, 512), 2), pytest.param((375, 501), 2, marks=only_full), ((193, 257), 1e-3)],
)
def test_tiled_equals_whole(tiny, random, size, memory_mb):
  visible, infrared = (a.astype(np.float32) for a in images(random, *size))
  assert tiny.is_tiled(size, memory_mb)
  tiled = tiny.fuse(visible, infrared, memory_mb=memory_mb)
  whole = tiny.fuse(visible, infrared, memory_mb=1e5)
  np.testing.assert_allclose(tiled, whole, atol=1e-5, rtol=0)


def test_tiles_of_one_image_share_two_programs(tiny, random):
  before = set(tiny.programs.compiled)
  visible, infrared = images(random, 300, 500)
  tiny.fuse(visible, infrared, memory_mb=1)
  new = set(tiny.programs.compiled) - before
  assert sorted(key[0] for key in new) == ["pool", "tile"]


def test_reference_weights(inference_reference):
  state = {k[6:]: v for k, v in inference_reference.items() if k.startswith("state/")}
  architecture = {
    "name": "isfuse",
    "features": 32,
    "grid": 8,
    "shared_encoder": False,
    "gate": "released",
    "padding": "zeros",
    "levels": 3,
  }
  template = isfuse.shapes(architecture)
  model = Model(torch_names.from_torch(state, template), architecture)
  for size in ("53x67", "64x96"):
    visible, infrared = (inference_reference[f"{size}/{m}"] for m in ("visible", "infrared"))
    _, details = model.fuse(visible, infrared, return_details=True)
    np.testing.assert_allclose(details.fused, inference_reference[f"{size}/fused"], atol=2e-6)
    np.testing.assert_allclose(details.gates[2], inference_reference[f"{size}/gate3"], atol=1e-6)
