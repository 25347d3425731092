"""The objective of AMG-Fuse by its formulas in NumPy and SciPy."""

import types

import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.amgfuse import objective
from cfi_jax.systems.amgfuse.samples import Scene


@pytest.fixture
def scene(random):
  colour, grey = (2, 8, 9, 3), (2, 8, 9, 1)
  shapes = (colour, grey, colour, grey, colour)
  return Scene(*(random.random(shape) for shape in shapes))


def outputs_of(outputs):
  """The outputs with a fused image, which the term does not look at."""
  return types.SimpleNamespace(fused=outputs.visible, **vars(outputs))


@pytest.mark.parametrize("network", objective.TERMS)
def test_weights_are_of_terms_that_the_network_has(network):
  first, *_ = objective.TERMS[network]
  objective.check({first: 0.5}, network)
  bad = [
    ({first: 1.0, "x": 1.0}, f"loss has no term 'x' for {network}; valid: {first}"),
    ({first: -0.5}, f"loss.{first} is -0.5; allowed: 0 or more"),
    ({first: 0.0}, f"loss has no weight above 0; it takes weights of {first}"),
  ]
  for weights, words in bad:
    with pytest.raises(InputError, match=words):
      objective.check(weights, network)


def test_a_distance_is_the_mean_of_magnitudes_per_example(scene, x64):
  first, second = scene.visible, scene.clean_visible
  expected = np.abs(first - second).mean((1, 2, 3))
  np.testing.assert_allclose(objective.distance(first, second), expected)
  terms = objective.restoration_terms(first, scene)
  assert list(terms) == ["restoration"]
  np.testing.assert_allclose(terms["restoration"], expected)


def test_the_share_of_the_visible_image_is_by_its_edges(scene, x64):
  def edges(image):
    return np.mean(
      [np.abs(ndimage.sobel(x[..., 0], a, mode="constant")) for x in image for a in (0, 1)]
    )

  pair = Pair(scene.clean_visible[..., :1], 0.3 * scene.clean_infrared)
  visible, infrared = edges(pair.visible), edges(pair.infrared)
  share = float(objective.visible_share(pair))
  assert share == pytest.approx(visible / (visible + infrared), rel=1e-6) and share > 0.6


def test_the_mask_guides_both_outputs(scene, random, x64):
  visible, infrared, pseudo = scene.clean_visible, scene.clean_infrared, scene.pseudo
  outputs = types.SimpleNamespace(
    visible=random.random(visible.shape), infrared=random.random(visible.shape)
  )
  share = np.clip((pseudo - infrared) / (visible - infrared + pseudo + 1e-8), 0, 1)
  mask = 1 / (1 + np.exp(-5 * (share - 0.5)))
  expected = (
    np.abs(mask * visible - outputs.visible).mean((1, 2, 3)),
    np.abs((1 - mask[..., :1]) * infrared - outputs.infrared[..., :1]).mean((1, 2, 3)),
  )
  np.testing.assert_allclose(objective.mask_guided(scene, outputs), expected, rtol=1e-5)


def test_restored_outputs_are_the_clean_images_themselves(scene, random, x64):
  visible, infrared = scene.clean_visible, scene.clean_infrared
  outputs = types.SimpleNamespace(
    visible=random.random(visible.shape), infrared=random.random(visible.shape)
  )
  expected = [
    np.abs(visible - outputs.visible).mean((1, 2, 3)),
    np.abs(np.repeat(infrared, 3, -1) - outputs.infrared).mean((1, 2, 3)),
  ]
  np.testing.assert_allclose(objective.restored_heads(scene, outputs), expected)
  terms = objective.fusion_terms({"restored": 2.0, "mgls": 0.0}, scene, outputs_of(outputs), None)
  assert list(terms) == ["restored"]
  np.testing.assert_allclose(terms["restored"], sum(expected))


def test_the_fused_image_may_have_a_target(scene, random, x64):
  fused = random.random(scene.clean_visible.shape)
  outputs = types.SimpleNamespace(fused=fused)
  terms = objective.fusion_terms({"target": 1.0}, scene, outputs, None)
  expected = np.abs(fused - scene.pseudo).mean((1, 2, 3))
  np.testing.assert_allclose(terms["target"], expected)


def test_errors_may_count_by_their_logarithms(scene, random, x64):
  visible, infrared = scene.clean_visible, scene.clean_infrared
  outputs = types.SimpleNamespace(
    visible=visible + 0.25, infrared=np.repeat(infrared, 3, -1) - 1 / 255, fused=scene.pseudo
  )
  terms = objective.fusion_terms({"log_errors": 1.0}, scene, outputs, None)
  level = 1 / 255
  expected = np.log(0.25 + level) + np.log(2 * level) + np.log(level)
  np.testing.assert_allclose(terms["log_errors"], [expected] * 2)
