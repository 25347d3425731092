"""Shapes of windows for tiles: within their budget, and cheapest for images of several sizes."""

import math

import pytest

from cfi_jax.systems.isfuse.inference import geometry, tiles
from cfi_jax.systems.isfuse.inference.geometry import Frame

FRAME = Frame("zeros", 8, 2)
MOST = 160 * 160


@pytest.mark.parametrize("size", [(300, 300), (200, 700), (130, 2000), (150, 150)])
def test_a_window_keeps_to_the_budget_and_uses_most_of_it(size):
  need = geometry.smallest_bucket(size, FRAME)
  found = tiles.window_shape(size, MOST, FRAME)
  assert all(side <= whole and side % FRAME.align == 0 for side, whole in zip(found, need))  # noqa: B905
  assert math.prod(found) <= MOST
  assert found == need or math.prod(found) > 0.6 * MOST


def test_the_shared_window_costs_the_images_the_least():
  """An image of as many pixels as all windows of all images have."""
  sizes = [(300, 300)] * 5 + [(200, 700), (130, 2000)]
  shapes = {tiles.window_shape(size, MOST, FRAME) for size in sizes}

  def cost(shape):
    return sum(len(tiles.cut(size, shape, FRAME)) for size in sizes) * math.prod(shape)

  assert len(shapes) == 3
  found = tiles.shared_shape(sizes, MOST, FRAME)
  assert cost(found) == min(map(cost, shapes | {found})) < max(map(cost, shapes))
  assert tiles.shared_shape([(300, 300)], MOST, FRAME) == tiles.window_shape(
    (300, 300), MOST, FRAME
  )
