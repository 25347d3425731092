"""The skeleton warp: onto its own pose it changes nothing, and far from people it never does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.datasets.figures import people, render
from cfi_jax.systems.dfcnet import warp as warp_lib

SIDE = 48


@pytest.fixture(scope="module")
def figures():
  person = people.draw_person(jax.random.key(5))
  poses = jax.vmap(people.draw_pose)(jax.random.split(jax.random.key(1), 2))
  return jax.jit(jax.vmap(lambda pose: render.render(person, pose, SIDE)))(poses)


@pytest.fixture(scope="module")
def warp():
  return jax.jit(warp_lib.warp)


def test_a_pose_onto_itself_is_the_identity_inside_the_person(figures, warp):
  image, keypoints = figures.image[0], figures.keypoints[0]
  warped = warp(image, keypoints, keypoints)
  inside = np.asarray(figures.parts[0] > 0) & np.asarray(warped.cover[..., 0] > 0.9)
  assert inside.sum() > 100
  difference = np.abs(np.asarray(warped.person - image)).max(-1)
  # Limbs that end far away are read where they end, and count next to nothing.
  assert difference[inside].mean() < 1e-3 and difference[inside].max() < 0.05


def test_the_person_moves_and_the_room_stays(figures, warp):
  image, keypoints = figures.image, figures.keypoints
  warped = warp(image[0], keypoints[0], keypoints[1])
  error, copied = (float(jnp.square(x - image[1]).mean()) for x in (warped.base, image[0]))
  assert error < 0.6 * copied
  outside = np.asarray(warped.region[..., 0] == 0)
  assert outside.mean() > 0.3
  np.testing.assert_array_equal(np.asarray(warped.base)[outside], np.asarray(image[0])[outside])
  # What is taken for the person before the background is filled covers nearly all of it.
  assert np.asarray(warped.old[..., 0])[np.asarray(figures.parts[0] > 0)].mean() > 0.9


def test_missing_joints_drop_their_limbs_alone(figures, warp):
  image, keypoints = figures.image[0], figures.keypoints[0]
  gone = keypoints.at[4, 2].set(0)  # the right wrist
  few = warp(image, gone, keypoints)
  whole = warp(image, keypoints, keypoints)
  assert float(few.cover.sum()) < float(whole.cover.sum())
  nobody = warp(image, keypoints.at[:, 2].set(0), keypoints)
  np.testing.assert_allclose(nobody.base, image, atol=1e-6)
  assert not np.asarray(nobody.region).any()
  for leaf in jax.tree.leaves(nobody):
    assert np.isfinite(leaf).all()


def test_limbs_are_known_where_all_their_joints_are():
  keypoints = jnp.concatenate([jnp.full((18, 2), 3.0), jnp.full((18, 1), 2.0)], axis=-1)
  assert warp_lib.limbs(keypoints, 8).known.all()
  known = warp_lib.limbs(keypoints.at[1, 2].set(0), 8).known  # without a neck
  np.testing.assert_array_equal(np.flatnonzero(~known), [0, 1, 2, 5])
  ears = warp_lib.limbs(keypoints.at[16:, 2].set(0), 8).known
  np.testing.assert_array_equal(np.flatnonzero(~ears), [5])
  assert warp_lib.limbs(keypoints.at[17, 2].set(0), 8).known.all()  # one ear is enough
