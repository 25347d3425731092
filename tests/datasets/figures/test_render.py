"""Parts of a rendered picture: the face, the wall with its boxes, the floor."""

import types

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from cfi_jax.datasets.figures import people, render


def test_a_face_has_two_eyes_above_a_mouth_that_is_wider_than_high():
  n = 81
  up, across = np.meshgrid(np.linspace(1, -1, n), np.linspace(-1, 1, n), indexing="ij")
  skin, hair = jnp.array([0.8, 0.6, 0.5]), jnp.array([0.2, 0.1, 0.0])
  person = types.SimpleNamespace(skin=skin, hair=hair)
  stood = types.SimpleNamespace(head=jnp.array([5.0, 6, 7]), face=jnp.eye(3), radius=2.0)

  def seen(depth):
    points = np.stack([across, up, np.full((n, n), depth)], -1) * 2 + np.array([5, 6, 7])
    return np.asarray(render._head(person, stood, jnp.asarray(points, jnp.float32)))

  front, back = seen(0.9), seen(-0.5)
  dark = np.abs(front - 0.3 * np.asarray(skin)).max(-1) < 1e-5
  labels, count = ndimage.label(dark)
  assert count == 3
  boxes = [
    (up[part].mean(), across[part].mean(), dark[part].shape)
    for part in ndimage.find_objects(labels)
  ]
  (eye, left, _), (other, right, _), (mouth, middle, (high, wide)) = sorted(boxes, reverse=True)
  assert eye == other > 0 > mouth and {round(left, 1), round(right, 1)} == {-0.4, 0.4}
  assert abs(middle) < 0.02 and 1.5 * high < wide
  np.testing.assert_allclose(front[0], np.tile(hair, (n, 1)), atol=1e-6)  # above
  np.testing.assert_allclose(front[-1, n // 2], skin, atol=1e-6)
  np.testing.assert_allclose(back, np.broadcast_to(hair, back.shape), atol=1e-6)  # and behind


def test_the_room_is_a_wall_with_boxes_and_a_floor():
  n = 40
  y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2, indexing="ij")
  # Place, size and colour of three boxes.
  boxes = jnp.array(
    [[0.2, 0.3, 0.5, 0.5, 0.1, 0.9], [0.5, 0.5, 0, 0, 0.5, 0.2], [0.8, 0.2, 1, 0.3, 0.9, 0.6]]
  )
  wall, floor = np.array([0.9, 0.8, 0.7]), np.array([0.3, 0.4, 0.5])
  person = types.SimpleNamespace(
    wall=jnp.asarray(wall), floor=jnp.asarray(floor), horizon=0.3, boxes=boxes
  )
  found = np.asarray(render.room(person, jnp.asarray(np.stack([x, y], -1))))
  assert found.shape == (n, n, 3)
  left = np.ones((n, n), bool)
  for left_edge, top, wide, high, hue, saturation in boxes.tolist():
    inside = (abs(x - left_edge) < 0.04 + 0.12 * wide) & (abs(y - 0.8 * top) < 0.04 + 0.12 * high)
    colour = people.rgb(jnp.array([hue, 0.5 * saturation + 0.1, 0.3 + 0.6 * wide]))
    np.testing.assert_allclose(
      found[inside & left], np.tile(colour, ((inside & left).sum(), 1)), atol=1e-5
    )
    left &= ~inside
  ground = y > 0.7
  np.testing.assert_allclose(
    found[ground], (floor * (1 - 0.6 * (1 - y[..., None])))[ground], atol=1e-5
  )
  bare = left & ~ground
  assert bare.sum() > 300
  np.testing.assert_allclose(found[bare], (wall * (1 - 0.5 * y[..., None]))[bare], atol=1e-5)
