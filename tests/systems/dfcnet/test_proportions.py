"""Proportions: the source's pose on another body, of which the lowest joint keeps its height."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.systems.dfcnet import objective
from cfi_jax.systems.dfcnet.proportions import (
  BONES,
  FARTHEST,
  HIPS,
  LONGEST,
  Proportions,
  bones,
  fit,
)

SIDE = 64
PROPORTIONS = Proportions(SIDE, width=2)


@pytest.fixture(scope="module")
def pose():
  places = jax.random.uniform(jax.random.key(0), (1, 18, 2), minval=10, maxval=54)
  return np.concatenate([places, np.full((1, 18, 1), 2.0, np.float32)], axis=-1)


@pytest.fixture(scope="module")
def params(pose):
  return PROPORTIONS.init(jax.random.key(1), pose, pose)["params"]


def adapt(params, source, bias):
  """The pose with a bias [19] of the last layer: logs of factors on 17 bones, and a shift."""
  params = params | {"Dense_2": params["Dense_2"] | {"bias": jnp.asarray(bias)}}
  return np.asarray(PROPORTIONS.apply({"params": params}, source, source))


def test_they_begin_as_the_sources(pose, params):
  np.testing.assert_array_equal(PROPORTIONS.apply({"params": params}, pose, pose), pose)
  assert set(BONES) | {"neck"} == set(JOINTS) and len(BONES) == 17


def test_a_taller_person_keeps_the_feet_and_the_place(pose, params):
  factor = np.exp(LONGEST * np.tanh(0.2 / LONGEST))
  made = adapt(params, pose, np.r_[np.full(17, 0.2), 0, 0])
  lowest = int(pose[0, :, 1].argmax())
  anchor = np.array([pose[0, HIPS, 0].mean(), pose[0, lowest, 1]])
  np.testing.assert_allclose(made[0, :, :2], anchor + factor * (pose[0, :, :2] - anchor), rtol=1e-4)
  np.testing.assert_array_equal(made[..., 2], pose[..., 2])
  # No factor is beyond the bound, however sure the layer is.
  longest = adapt(params, pose, np.r_[np.full(17, 99.0), 0, 0])
  before, after = (np.ptp(x[0, :, 0]) for x in (np.asarray(pose), longest))
  assert after == pytest.approx(np.exp(LONGEST) * before, rel=1e-4)


def test_one_bone_moves_what_hangs_on_it_and_a_missing_joint_nothing(pose, params):
  elbow, wrist = JOINTS.index("left elbow"), JOINTS.index("left wrist")
  bias = np.zeros(19)
  bias[list(BONES).index("left elbow")] = 0.2
  lowest = jnp.asarray(pose).at[0, JOINTS.index("right ankle"), 1].set(60)
  moved = np.flatnonzero(np.abs(adapt(params, lowest, bias) - lowest).max((0, 2)) > 1e-3)
  assert moved.tolist() == [elbow, wrist]
  without = lowest.at[0, elbow].set(0)
  np.testing.assert_allclose(adapt(params, without, bias), without, atol=1e-4)
  vectors, known = bones(without, SIDE)
  ends = [list(BONES).index(name) for name in ("left elbow", "left wrist")]
  assert not np.asarray(vectors)[0, ends].any() and known[0, ends].tolist() == [0, 0]
  assert known.sum() == 15


def test_the_shift_is_in_sides(pose, params):
  made = adapt(params, pose, np.r_[np.zeros(17), 0.1, -99.0])
  shift = FARTHEST * SIDE * np.array([np.tanh(0.1), -1])
  np.testing.assert_allclose((made - pose)[0, :, :2], np.broadcast_to(shift, (18, 2)), rtol=1e-3)


def test_the_term_is_a_mean_distance_in_sides():
  truth = jnp.zeros((1, 4, 3)).at[..., 2].set(jnp.array([[2, 1, 0, 2]]))
  found = truth.at[0, :, 0].set(jnp.array([6.4, 0, 99, 3.2])).at[0, 3, 2].set(0)
  assert float(objective.proportions(found, truth, 64)[0]) == pytest.approx(0.05, abs=1e-3)
  assert float(objective.proportions(0 * found, truth, 64)[0]) == 0
  gradient = jax.grad(lambda x: objective.proportions(x, truth, 64).sum())(truth)
  assert np.isfinite(gradient).all()


def test_they_are_fitted_to_people_that_need_no_pictures(pose, params):
  def draw(key):
    """The fixture's pose of a source, and of a target that is 0.8 or 1.2 times as tall."""
    factor = jax.random.choice(key, jnp.array([0.8, 1.2]))
    flags = jnp.array([[1.0, 1.0, 0.0]])
    target = jnp.where(flags > 0, factor * pose[0], pose[0])
    anchor = jnp.array([[pose[0, HIPS, 0].mean(), pose[0, :, 1].max(), 0]])
    return (
      jnp.asarray(pose[0]),
      target,
      jnp.where(flags > 0, anchor + factor * (pose[0] - anchor), pose[0]),
    )

  fitted = jax.jit(lambda params, key: fit(PROPORTIONS, params, draw, key, 200))
  source, target, truth = jax.vmap(draw)(jax.random.split(jax.random.key(7), 8))
  before, after, again = (
    float(
      objective.proportions(PROPORTIONS.apply({"params": own}, source, target), truth, SIDE).mean()
    )
    for own in (params, *(fitted(params, jax.random.key(key)) for key in (3, 3)))
  )
  assert after < 0.3 * before and after == again
