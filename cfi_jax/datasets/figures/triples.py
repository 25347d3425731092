"""Keypoints of transfers between procedural people, without pictures; all of it is ours."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures import people, skeleton
from cfi_jax.datasets.figures.people import Person, Pose

LOST = 0.03  # share of joints that are missing


def draw(key: Array, size: int) -> tuple[Array, Array, Array]:
  """Keypoints [18, 3] of source, target and truth, of two people in two poses drawn from the key.

  In pixels of pictures of `size`; the flag is 2, or 0 with the place 0, 0 where a joint is outside
  or, of 3 % in source and target, lost.
  """
  keys = jax.random.split(key, 6)
  own, other = (people.draw_person(each) for each in keys[:2])
  shown, wanted = (people.draw_pose(each) for each in keys[2:4])
  kept = (jax.random.uniform(each, (len(skeleton.JOINTS), 1)) > LOST for each in keys[4:])
  source, target = (
    _keypoints(person, pose, size) * there
    for (person, pose), there in zip(((other, wanted), (own, shown)), kept, strict=True)
  )
  return source, target, _keypoints(own, wanted, size)


def _keypoints(person: Person, pose: Pose, size: int) -> Array:
  places = skeleton.to_picture(skeleton.stand(person, pose).joints)
  inside = ((places > 0) & (places < 1)).all(-1, keepdims=True)
  return jnp.concatenate([places * size, jnp.full_like(places[:, :1], 2)], axis=-1) * inside
