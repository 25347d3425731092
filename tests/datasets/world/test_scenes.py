"""Steps of painting a scene against their formulas in NumPy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.datasets.world import paint, scenes, street

SIZE = 12


def test_layers_cover_those_below(random):
  alpha = random.random((3, 4, 5)).astype(np.float32)
  alpha[1, 0, 0] = 1  # hides the first altogether
  expected = [
    alpha[0] * (1 - alpha[1]) * (1 - alpha[2]), alpha[1] * (1 - alpha[2]), alpha[2],
  ]  # fmt: skip
  share = paint.over(jnp.asarray(alpha))
  np.testing.assert_allclose(share, expected, atol=1e-6)
  below, layers = random.random((4, 5)), random.random((3, 4, 5))
  painted = below
  for a, layer in zip(alpha, layers, strict=True):
    painted = painted * (1 - a) + a * layer
  np.testing.assert_allclose(paint.paint(below, share, layers), painted, atol=1e-5)


def test_value_noise_interpolates_its_lattices_smoothly(random):
  draws = random.random((2, paint.NOISE_DRAWS)).astype(np.float32)
  rows, cols = random.random(5).astype(np.float32), random.random(6).astype(np.float32)
  found = paint.noise(jnp.asarray(draws), jnp.asarray(rows), jnp.asarray(cols))

  def step(t):
    return t * t * (3 - 2 * t)

  total, start = np.zeros((2, 5, 6)), 0
  for strength, cells in ((1, 4), (0.5, 8), (0.25, 16), (0.125, 32)):
    lattice = draws[:, start : start + (cells + 1) ** 2].reshape(2, cells + 1, cells + 1)
    start += (cells + 1) ** 2
    for y, row in enumerate(rows * cells):
      for x, col in enumerate(cols * cells):
        i, j = int(row), int(col)
        down, across = step(row - i), step(col - j)
        upper = lattice[:, i, j] * (1 - across) + lattice[:, i, j + 1] * across
        lower = lattice[:, i + 1, j] * (1 - across) + lattice[:, i + 1, j + 1] * across
        total[:, y, x] += strength * (upper * (1 - down) + lower * down)
  np.testing.assert_allclose(found, 2 * total / 1.875 - 1, atol=1e-4)


def test_contrast_is_the_smaller_of_standing_out_and_of_being_the_cause(random):
  image, empty = random.random((2, SIZE, SIZE))
  inside = (random.random((2, SIZE, SIZE)) < 0.2).astype(float)
  around = random.random((2, SIZE, SIZE))
  found = scenes._contrast(*map(jnp.asarray, (image, empty, inside, around)))
  for k in range(2):
    there = inside[k] == 1
    surroundings = (image * around[k]).sum() / around[k].sum()
    stands_out = np.sqrt(np.mean((image[there] - surroundings) ** 2))
    is_cause = np.sqrt(np.mean((image - empty)[there] ** 2))
    assert float(found[k]) == pytest.approx(min(stands_out, is_cause), rel=1e-4)
  assert float(scenes._contrast(image, image, inside, around).max()) == 0


@pytest.mark.parametrize(("rise", "fall"), [(1.0, 1.2), (1.6, 0.7)])
def test_a_cover_reaches_beyond_the_things_that_are_hidden(rise, fall, random):
  things = types.SimpleNamespace(
    x=jnp.array([0.3, 0.7]),
    foot=jnp.array([0.8, 0.7]),
    height=jnp.array([0.4, 0.2]),
    half_width=jnp.array([0.1, 0.05]),
  )
  ragged = 0.1 * random.random((SIZE, SIZE))
  y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
  covers = []
  for k in range(2):
    dx = (x - float(things.x[k])) / (1.2 * float(things.half_width[k]) + 0.08)
    middle = float(things.foot[k] - things.height[k] / 2)
    dy = (y - middle) / (0.6 * float(things.height[k]) + 0.08)
    dy = np.where(dy < 0, dy / rise, dy)
    t = np.clip((1.1 + fall - (dx**4 + dy**4) ** 0.25 + ragged) / fall, 0, 1)
    covers.append(t * t * (3 - 2 * t))
  for hides in ([1, 0], [1, 1], [0, 0]):
    found = scenes._cover(things, jnp.array(hides), SIZE, rise, fall, jnp.asarray(ragged))
    expected = np.max([h * cover for h, cover in zip(hides, covers, strict=True)], 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sensors_add_noise_and_the_same_columns_to_every_picture():
  options = types.SimpleNamespace(
    read_noise=0.01, shot_noise=0.05, infrared_noise=0.02, pattern_noise=0.03, size=SIZE
  )
  visible, infrared = np.full((2, SIZE, SIZE), 0.5, np.float32)
  visible[: SIZE // 2] = 0.1
  key = jax.random.key(1)
  seen, felt = np.asarray(jax.random.normal(key, (2, SIZE, SIZE)))
  columns = np.random.default_rng(0).standard_normal((1, SIZE), np.float32)
  found = scenes._sense(key, jnp.asarray(visible), jnp.asarray(infrared), options)
  expected = visible + np.sqrt(0.01**2 + 0.05**2 * visible) * seen
  np.testing.assert_allclose(found.visible[..., 0], np.clip(expected, 0, 1), atol=1e-6)
  expected = infrared + 0.03 * columns + 0.02 * felt
  np.testing.assert_allclose(found.infrared[..., 0], np.clip(expected, 0, 1), atol=1e-6)


def test_distance_is_one_at_the_houses_and_falls_towards_the_camera():
  view = street.Camera(jnp.array(0.4), jnp.array(0.5))
  foot = np.array([0.3, 0.4, 0.45, 0.5, 0.9])
  found = street.distance(view, jnp.asarray(foot))
  np.testing.assert_allclose(found, [1, 1, 1, 0.5, 0.1], rtol=1e-5)
  seen = street.camera(jnp.array([0.5, 0.25]))
  np.testing.assert_allclose([seen.horizon, seen.centre], [0.4, 0.4], rtol=1e-6)


@pytest.mark.parametrize("night", [False, True])
def test_daylight_slopes_and_night_is_dimmer(night):
  found = street._daylight(jnp.array([0.5, 0.9, 0.2]), jnp.array(night), SIZE)
  y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
  level = 0.31 if night else 0.875
  expected = level * (1 + 0.5 * 0.4 * (x - 0.5) - 0.2 * 0.3 * (y - 0.5))
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_things_by_the_road_stand_on_alternating_sides():
  view = street.Camera(jnp.array(0.4), jnp.array(0.5))
  near, aside = np.array([0.1, 0.25, 0.5]), np.array([1.0, 0.9, 0.8])
  x, foot, scale = street._roadside(view, jnp.asarray(near), jnp.asarray(aside))
  np.testing.assert_allclose(x.ravel(), 0.5 + np.array([-1, 1, -1]) * aside * near, rtol=1e-5)
  np.testing.assert_allclose(foot.ravel(), 0.4 + 0.6 * near, rtol=1e-5)
  np.testing.assert_allclose(scale.ravel(), 0.6 * near, rtol=1e-5)
