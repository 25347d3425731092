"""The things of the embedded world: their shapes as published, and what their outlines say."""

import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.datasets import synthetic
from cfi_jax.datasets.world import things
from cfi_jax.datasets.world.street import Camera

# Of all parts and heights, by the edition of the world (`synthetic.SyntheticSource.edition`).
SHAPES = {1: "dc12ddcde935f6b6e7c3e676cce990603733dae4203891a4534eda291b1d504e"}


def test_the_shapes_are_those_of_the_edition():
  content = np.concatenate([things._TABLE.ravel(), things._HEIGHTS]).astype("<f4").tobytes()
  assert hashlib.sha256(content).hexdigest() == SHAPES[synthetic.SyntheticSource.edition]


def test_a_thing_reaches_as_far_as_its_widest_part():
  table = things._TABLE
  for kind, reach in enumerate(things._REACH):
    parts = table[kind][table[kind][:, 1] > -1]  # without the filling
    assert reach == pytest.approx(max(np.abs(parts[:, 0]) + parts[:, 2]))


def test_outlines_are_those_of_boxes_and_ellipses():
  """A crate of two boxes and the head of a person, by their formulas in NumPy."""
  size = 64
  stand = things.Things(
    kind=jnp.array([things.KINDS.index("crate"), things.KINDS.index("person")]),
    x=jnp.array([0.5, 0.5]),
    foot=jnp.array([0.9, 0.9]),
    height=jnp.array([0.5, 0.8]),
    facing=jnp.array([1.0, -1.0]),
  )
  np.testing.assert_allclose(stand.half_width, [0.5 * 0.66, 0.8 * 0.21], rtol=1e-6)
  found = things.silhouettes(stand, size)
  y, x = (np.mgrid[:size, :size] + 0.5) / size
  across, up = (x - 0.5) / 0.5, (0.9 - y) / 0.5
  box = (np.abs(across) <= 0.6) & (np.abs(up - 0.5) <= 0.5)
  u = np.cos(0.69) * across + np.sin(0.69) * (up - 0.5)
  v = np.cos(0.69) * (up - 0.5) - np.sin(0.69) * across
  plank = (np.abs(u) <= 0.66) & (np.abs(v) <= 0.05)
  inside = np.asarray(found.distance[0]) < 0
  assert np.mean(inside != (box | plank)) < 0.01  # corners are a little round
  assert np.mean(np.isclose(found.albedo[0], 0.75)[plank]) > 0.6
  assert np.isclose(found.albedo[0], 1.0)[box & ~plank].mean() > 0.6
  assert np.isclose(found.heat[0], 0.97)[plank].mean() > 0.6
  across, up = (0.5 - x) / 0.8, (0.9 - y) / 0.8
  head = np.hypot(across / 0.08, (up - 0.91) / 0.1) < 0.8
  assert (np.asarray(found.distance[1])[head] < 0).all() and head.sum() > 20
  np.testing.assert_allclose(np.asarray(found.heat[1])[head], 1.12, rtol=1e-5)
  assert not (np.asarray(found.distance[1]) < 0)[up > 1.05].any()


def test_things_stand_on_the_ground_the_farthest_first():
  view = Camera(*(jnp.array(0.4) for _ in Camera.__dataclass_fields__))
  draws = np.random.default_rng(0).random((4, 6)).astype(np.float32)
  found = things.stand(jnp.asarray(draws), view)
  kind, depth, facing, start = draws.astype(np.float64)
  np.testing.assert_array_equal(found.kind, np.floor(kind * len(things.KINDS)))
  foot = np.sort(0.4 + 0.16 + depth**1.3 * (0.8 - 0.4))
  np.testing.assert_allclose(found.foot, foot, rtol=1e-5)
  x = 0.06 + 0.88 * ((start[0] + 0.618034 * np.arange(6)) % 1)
  np.testing.assert_allclose(found.x, x, rtol=1e-4)
  height = 0.68 * (foot - 0.4) * things._HEIGHTS[np.asarray(found.kind)]
  np.testing.assert_allclose(found.height, height, rtol=1e-5)
  np.testing.assert_array_equal(found.facing, np.where(facing < 0.5, -1, 1))
