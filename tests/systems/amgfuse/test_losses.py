"""The terms of the loss that any system can use, against the authors' code in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.fusion import losses
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops


def grey(image):
  return image.mean(-1, keepdims=True)


def share(pair):
  visible, infrared = (ops.sobel_magnitude(x).mean() for x in (pair.visible, pair.infrared))
  return visible / (visible + infrared)


def terms(fused, visible, infrared):
  pair = Pair(grey(visible), infrared)
  return {
    "intensity": losses.maximum(grey(fused), pair),
    "gradient": losses.edges(grey(fused), pair),
    "ssim": losses.shared_structure(grey(fused), pair, share(pair)),
    "colour": losses.chroma(fused, visible),
  }


@pytest.fixture
def images(oracle, pixels):
  return [pixels(oracle[f"loss/{name}"]) for name in "FVI"]


def test_values_and_gradients_are_those_of_the_authors(images, oracle, pixels, x64):
  fused, visible, infrared = images
  names = list(terms(*images))

  def means(f):
    return jnp.stack([10 * x.mean() for x in terms(f, visible, infrared).values()])

  values, slopes = jax.jit(lambda f: (means(f), jax.jacrev(means)(f)))(fused)
  for name, value, slope in zip(names, values, slopes, strict=True):
    np.testing.assert_allclose(value, oracle[f"loss/{name}"], rtol=1e-9)
    expected = pixels(oracle[f"loss/grad_F/{name}"])
    np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-12)


def test_parts_are_those_of_the_authors(images, oracle, pixels, x64):
  fused, visible, infrared = images
  found = jax.jit(ops.sobel_magnitude)(infrared)
  np.testing.assert_allclose(found, pixels(oracle["loss/sobel_I"]), rtol=1e-9)
  pair = Pair(grey(visible), infrared)
  weights = [share(pair), 1 - share(pair)]
  np.testing.assert_allclose(weights, oracle["loss/ssim_weights"], rtol=1e-9)
  # A share of 1 leaves the visible image alone, of 0 the infrared one.
  structure = jax.jit(functools.partial(losses.shared_structure, grey(fused), pair))
  for whole, name in ((1.0, "meanRGB_V_F"), (0.0, "I_F")):
    similarity = 1 - structure(whole).mean()
    np.testing.assert_allclose(similarity, oracle[f"loss/ssim_raw_{name}"], rtol=1e-9)


def test_values_are_of_each_example(images):
  images = [np.float32(image) for image in images]

  @jax.jit
  def both(*images):
    fused, visible, infrared = images
    own = share(Pair(grey(visible), infrared))

    def alone(fused, visible, infrared):
      structure = losses.shared_structure(grey(fused), Pair(grey(visible), infrared), own)
      return terms(fused, visible, infrared) | {"ssim": structure}

    return terms(*images), jax.lax.map(lambda images: alone(*images), images)

  whole, alone = both(*images)
  for name, value in alone.items():
    np.testing.assert_allclose(value, whole[name], rtol=1e-5)


def test_flat_images_have_no_slope():
  flat = jnp.full((1, 8, 8, 1), 0.5)
  inside = jnp.zeros_like(flat).at[:, 2:-2, 2:-2].set(1)

  @jax.jit
  def slopes(fused):
    edges = jax.grad(lambda f: (ops.sobel_magnitude(f) * inside).sum())(fused)
    return edges, jax.grad(lambda f: losses.maximum(f, Pair(flat, flat)).sum())(fused)

  for slope in slopes(flat):
    assert not np.any(slope)
