"""Trivial fusions that reports score beside methods."""

import types

import numpy as np
import pytest

from cfi_jax.systems import baselines
from cfi_jax.systems.baselines import BASELINES, NOISE, NOISE_LEVELS


@pytest.fixture
def images():
  rng = np.random.default_rng(8)
  return rng.integers(0, 256, (2, 45, 70), dtype=np.uint8)


def test_pointwise_rules(images):
  visible, infrared = images
  made = {name: rule(visible, infrared, "x") for name, rule in BASELINES.items()}
  assert all(image.dtype == np.uint8 and image.shape == (45, 70) for image in made.values())
  np.testing.assert_array_equal(made["visible"], visible)
  np.testing.assert_array_equal(made["infrared"], infrared)
  np.testing.assert_array_equal(made["maximum"], np.maximum(visible, infrared))
  exact = (visible.astype(float) + infrared) / 2
  np.testing.assert_array_equal(made["average"], np.floor(exact + 0.5))


@pytest.mark.parametrize("size", [(45, 70), (64, 64), (15, 9), (97, 33)])
def test_laplacian_pyramid_of_equal_images_is_the_image(size):
  image = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
  np.testing.assert_array_equal(BASELINES["Laplacian pyramid"](image, image, ""), image)


def test_laplacian_pyramid_keeps_the_details_of_both():
  columns = np.arange(64)
  stripes = np.tile(128 + 60 * (columns % 2 * 2 - 1), (64, 1)).astype(np.uint8)
  flat = np.full((64, 64), 128, np.uint8)
  fused = BASELINES["Laplacian pyramid"](stripes, flat, "").astype(float)
  assert np.corrcoef(fused.ravel(), stripes.ravel())[0, 1] > 0.99
  assert fused.std() == pytest.approx(stripes.std(), rel=0.1)
  bright = BASELINES["Laplacian pyramid"](flat, np.full_like(flat, 228), "")
  np.testing.assert_array_equal(bright, 178)  # the coarsest level is averaged


def test_noise_control_is_the_average_plus_noise():
  flat = np.full((200, 200), 120, np.uint8)
  one, same, other = (BASELINES[NOISE](flat, flat, name).astype(float) for name in "aab")
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)
  assert one.mean() == pytest.approx(120, abs=0.2)
  assert one.std() == pytest.approx(NOISE_LEVELS, rel=0.02)


@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_is_fused_as_its_images(images, name):
  visible, infrared = images
  batches = [np.stack([image, image[::-1]])[..., None] for image in images]
  found = BASELINES[name](*batches, "x")
  assert found.shape == (2, 45, 70, 1) and found.dtype == np.uint8
  if name == NOISE:  # another draw for every image
    assert np.any(found[0] != found[1, ::-1])
  else:
    np.testing.assert_array_equal(found[0, ..., 0], BASELINES[name](visible, infrared, "x"))
    turned = BASELINES[name](visible[::-1], infrared[::-1], "x")
    np.testing.assert_array_equal(found[1, ..., 0], turned)


def test_sizes_are_reserved_in_every_rule(monkeypatch):
  asked = []
  fuser = types.SimpleNamespace(reserve=lambda sizes: asked.append(list(sizes)))
  monkeypatch.setattr(baselines, "_fuser", lambda rule: fuser)
  baselines.reserve(iter([(40, 50), (60, 70)]))
  assert asked == [[(40, 50), (60, 70)]] * len(baselines.RULES)
