"""Variations of pairs: nothing by default, each kind by itself, and no pair but for its key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.core.types import InputError
from cfi_jax.fusion import cameras
from cfi_jax.fusion.cameras import CameraOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse.recipes import UNVARIED

NONE = CameraOptions(**UNVARIED | {"probability": 1.0})
vary = jax.jit(cameras.vary, static_argnums=2)


@pytest.fixture
def pair(random):
  images = random.random((2, 40, 56))
  smooth = [ndimage.gaussian_filter(image, 2)[..., None] for image in images]
  return Pair(*(np.float32((x - x.min()) / np.ptp(x)) for x in smooth))


def varied(pair, seed=0, **changes):
  return vary(jax.random.key(seed), pair, dataclasses.replace(NONE, **changes))


def test_nothing_is_varied_by_options_that_vary_nothing(pair):
  found = varied(pair)
  np.testing.assert_allclose(found.visible, pair.visible, atol=1e-3)
  np.testing.assert_allclose(found.infrared, pair.infrared, atol=1e-3)
  strong = dict(gain=(0.2, 0.2), noise=0.3, inverted=1.0)
  kept = varied(pair, probability=0.0, **strong)
  np.testing.assert_array_equal(kept.visible, pair.visible)
  assert float(np.abs(varied(pair, **strong).visible - pair.visible).mean()) > 0.05


def test_tone_curves_keep_the_order_of_levels_and_differ_by_image(pair):
  found = varied(pair, gamma=(0.5, 0.5), gain=(0.5, 0.5), offset=0.0)
  np.testing.assert_allclose(found.visible, 0.25 + 0.5 * np.sqrt(pair.visible), atol=5e-3)
  shifts = [varied(pair, seed, gain=(0.5, 0.5), offset=0.2) for seed in range(8)]
  visible, infrared = (
    [float(getattr(f, m).mean()) for f in shifts] for m in ("visible", "infrared")
  )
  assert np.ptp(visible) > 0.1 and np.corrcoef(visible, infrared)[0, 1] < 0.9


def test_cold_things_are_white_where_it_is_inverted(pair):
  found = varied(pair, inverted=1.0)
  np.testing.assert_allclose(found.infrared, 1 - pair.infrared, atol=1e-3)
  np.testing.assert_allclose(found.visible, pair.visible, atol=1e-3)


def test_noise_has_the_size_asked_for_and_a_pattern_is_one_of_columns(pair):
  grey = jax.tree.map(lambda x: np.full_like(x, 0.5), pair)
  sizes = [float(varied(grey, seed, noise=0.1).visible.std()) for seed in range(30)]
  assert 0.07 < max(sizes) <= 0.11 and min(sizes) < 0.02
  found = varied(grey, 3, pattern=0.1)
  assert np.ptp(found.infrared, axis=0).max() < 1e-6 and found.infrared.std() > 1e-3
  np.testing.assert_allclose(found.visible, 0.5, atol=1e-6)


def test_both_images_are_enlarged_alike(pair):
  both = Pair(pair.visible, pair.visible)
  for zoom in (2.0, 0.5):
    found = varied(both, zoom=(zoom, zoom))
    np.testing.assert_allclose(found.visible, found.infrared, atol=1e-6)
    slopes = (
      np.abs(np.diff(found.visible, axis=0)).mean() / np.abs(np.diff(pair.visible, axis=0)).mean()
    )
    assert (0.3 < slopes < 0.7) if zoom == 2 else (slopes > 1.1)


def test_a_shift_moves_the_infrared_image_alone(pair):
  both = Pair(pair.visible, pair.visible)
  moved = []
  for seed in range(12):
    found = varied(both, seed, misaligned=3.0)
    np.testing.assert_allclose(found.visible, pair.visible, atol=1e-3)
    errors = {
      (dy, dx): np.abs(
        found.infrared[8:-8, 8:-8] - pair.visible[8 + dy : 32 + dy, 8 + dx : 48 + dx]
      ).mean()
      for dy in range(-4, 5)
      for dx in range(-4, 5)
    }
    moved.append(min(errors, key=errors.get))
  assert max(abs(d) for shift in moved for d in shift) in (2, 3)
  assert len({*moved}) > 6


def test_a_blur_takes_details(pair):
  noise = Pair(*jax.random.uniform(jax.random.key(1), (2, 40, 56, 1)))
  left = [float(varied(noise, seed, blur=3.0).visible.std()) for seed in range(10)]
  assert min(left) < 0.1 < 0.2 < max(left) <= float(noise.visible.std()) + 0.02


def test_the_cameras_differ_in_blur_where_they_are_aligned(pair):
  both = Pair(pair.visible, pair.visible)
  found = varied(both, blur=3.0)
  assert float(jnp.abs(found.visible - found.infrared).max()) > 0.01


def test_a_sample_has_its_own_draw_whatever_its_batch(pair):
  options = dataclasses.replace(NONE, gain=(0.3, 1.6), noise=0.1, zoom=(0.6, 2.0))
  key = jax.random.key(4)
  batch = jax.tree.map(lambda x: jnp.stack([x] * 3), pair)
  vary = jax.jit(cameras.vary_batch, static_argnums=2)
  three = vary(key, batch, options)
  two = vary(key, jax.tree.map(lambda x: x[:2], batch), options)
  for a, b in zip(jax.tree.leaves(three), jax.tree.leaves(two), strict=True):
    np.testing.assert_allclose(a[:2], b, atol=1e-6)
  assert float(jnp.abs(three.visible[0] - three.visible[1]).mean()) > 0.02
  assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x in jax.tree.leaves(three))


@pytest.mark.parametrize(
  ("field", "value"),
  [("gamma", (0.0, 1.0)), ("gain", (2.0, 1.0)), ("zoom", (1.0, float("inf"))), ("noise", -0.1),
   ("offset", float("inf")),
   ("blur", float("nan")), ("inverted", 1.5), ("probability", -1.0)],
)  # fmt: skip
def test_ranges_that_draw_nothing_are_refused(field, value):
  with pytest.raises(InputError, match=f"cameras.{field} is .*; allowed: "):
    dataclasses.replace(NONE, **{field: value})


def test_a_point_is_sampled_by_a_gaussian_of_a_quarter_of_a_pixel():
  point = np.zeros((40, 56, 1), np.float32)
  point[20, 30] = 1
  found = varied(Pair(point, point)).visible[..., 0]
  assert found[20, 31] / found[20, 30] == pytest.approx(np.exp(-8), rel=0.02)
  assert found[21, 30] / found[20, 30] == pytest.approx(np.exp(-8), rel=0.02)


@pytest.mark.parametrize(
  ("zoom", "middle", "shift", "places", "width"),
  [
    (1.0, 0.0, -2.0, [2, 1, 0, 1, 2], 0.25),
    (1.0, 0.5, 3.0, [3, 4, 3, 2, 1], 0.25),
    (2.0, 0.5, 0.0, [1, 1.5, 2, 2.5, 3], 0.25),
    (2.0, 1.0, 0.0, [2, 2.5, 3, 3.5, 4], 0.25),
    (0.5, 0.5, 0.0, [2, 0, 2, 4, 2], 0.5),  # two pixels each
  ],
)
def test_an_axis_is_sampled_around_a_place_and_mirrored_beyond_its_ends(
  zoom, middle, shift, places, width
):
  found = cameras._sampling(5, *(jnp.float32(x) for x in (zoom, middle, shift, 0.25)))
  weights = np.exp(-(((np.arange(5) - np.array(places)[:, None]) / width) ** 2) / 2)
  np.testing.assert_allclose(found, weights / weights.sum(1, keepdims=True), atol=1e-6)
