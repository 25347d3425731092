"""Buckets planned for images of many sizes: few, tight, and joined where that pays."""

import pytest

from cfi_jax.fusion import buckets


def plan(sizes, limit, pixels, need=lambda size: size):
  return buckets.plan(sizes, limit, need, pixels)


@pytest.mark.parametrize(("pixels", "joined"), [(99, False), (100, True)])
def test_two_buckets_are_joined_where_that_costs_no_more_than_compiling(pixels, joined):
  """An image of 10 x 10 in a bucket of 10 x 20 costs 100 pixels."""
  found = plan([(10, 10), (10, 20)], 2, pixels)
  assert found == {(10, 10): (10, 20) if joined else (10, 10), (10, 20): (10, 20)}
  assert all(type(side) is int for bucket in found.values() for side in bucket)


def test_every_image_counts():
  assert plan([(10, 10)] * 2 + [(10, 20)], 2, 199)[10, 10] == (10, 10)
  assert plan([(10, 10)] * 2 + [(10, 20)], 2, 200)[10, 10] == (10, 20)


def test_no_more_buckets_than_allowed_are_left_whatever_they_cost():
  assert plan([(10, 30), (20, 10)], 1, 0) == dict.fromkeys(((10, 30), (20, 10)), (20, 30))
  assert plan([(10, 30), (20, 10)], 2, 0) == {(10, 30): (10, 30), (20, 10): (20, 10)}
  assert plan([(5, 6)], 1, 0) == {(5, 6): (5, 6)}


def test_the_cheapest_two_are_joined():
  """12 and 14 columns cost 20 pixels; a hundred images of 10 columns in 12 cost 2000."""
  sizes = [(10, 10)] * 100 + [(10, 12), (10, 14)]
  found = plan(sizes, 2, 0)
  assert found == {(10, 10): (10, 10), (10, 12): (10, 14), (10, 14): (10, 14)}


def test_joined_buckets_weigh_what_both_do():
  """10 and 12 are joined at first; three images of theirs in 20 columns cost more than 20 in 25."""
  sizes = [(10, 10), (10, 12), (10, 12), (10, 20), (10, 25)]
  found = plan(sizes, 2, 0)
  assert found[10, 10] == found[10, 12] == (10, 12) and found[10, 20] == (10, 25)


def test_what_an_image_needs_is_asked():
  need = lambda size: (size[0] + 1, 2 * size[1])  # noqa: E731
  assert plan([(10, 10)], 3, 0, need) == {(10, 10): (11, 20)}
