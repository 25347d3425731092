"""Optical flow of pictures whose motion is known."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import registration

from cfi_jax.metrics import flow

RNG = np.random.default_rng(0)
TEXTURE = ndimage.gaussian_filter(RNG.uniform(0, 255, (90, 110)), 2)
TEXTURE = 255 * (TEXTURE - TEXTURE.min()) / np.ptp(TEXTURE)
INNER = (slice(12, -12), slice(12, -12))


def cut(dy, dx, size=(64, 80)):
  """The texture seen from a place (rows, columns)."""
  y, x = np.indices(size, float)
  return ndimage.map_coordinates(TEXTURE, [y + 10 + dy, x + 10 + dx], order=3)


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (0.5, 0.25), (-4, 5)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel(shift):
  found = flow.optical_flow(cut(0, 0), cut(-shift[0], -shift[1]))
  apart = np.hypot(*(found - np.reshape(shift, (2, 1, 1))))[INNER]
  assert np.median(apart) < 0.05 and np.percentile(apart, 95) < 0.2


def test_it_is_as_near_the_truth_as_that_of_scikit_image():
  """A rotation by 3 degrees."""
  y, x = np.indices((64, 80), float) - np.array([[[31.5]], [[39.5]]])
  angle = np.deg2rad(3)
  truth = np.stack(
    [
      np.cos(angle) * y - np.sin(angle) * x - y,
      np.sin(angle) * y + np.cos(angle) * x - x,
    ]
  )
  first = cut(0, 0)
  rows, columns = y + 31.5, x + 39.5
  back = [np.cos(angle) * y + np.sin(angle) * x - y, np.cos(angle) * x - np.sin(angle) * y - x]
  second = ndimage.map_coordinates(TEXTURE, [rows + 10 + back[0], columns + 10 + back[1]], order=3)
  ours = flow.optical_flow(first, second)
  theirs = registration.optical_flow_ilk(first / 255, second / 255, radius=7)
  errors = [np.median(np.hypot(*(f - truth))[INNER]) for f in (ours, theirs)]
  assert errors[0] < 0.15 and errors[0] <= errors[1] + 0.02


def test_without_slopes_nothing_moves():
  assert np.abs(flow.optical_flow(np.full((40, 40), 90.0), np.full((40, 40), 130.0))).max() < 1e-3


def test_warping_by_the_flow_brings_the_second_to_the_first():
  first, second = cut(0, 0), cut(2, 3)
  found = flow.warp(second, flow.optical_flow(first, second))
  assert np.abs(found - first)[INNER].mean() < 2 < 8 < np.abs(second - first)[INNER].mean()


def test_what_leaves_is_not_consistent():
  there, back = np.zeros((2, 20, 20)), np.zeros((2, 20, 20))
  there[1], back[1] = 2, -2
  back[1, :, 10:] = 0  # what is there came from elsewhere
  found = flow.is_consistent(there, back)
  assert found[:, :7].all() and not found[:, 9:].any()


def test_flows_that_end_a_whole_pixel_apart_are_not_consistent():
  there = np.zeros((2, 3, 5), np.float32)
  there[1] = [2.0, 2.0, 1.0, 0.0, 0.0]
  back = np.zeros_like(there)
  back[1] = -1
  # Ends 2 columns on, and comes back by 1: a pixel off; the third is where it was.
  np.testing.assert_array_equal(flow.is_consistent(there, back), [[0, 0, 1, 0, 0]] * 3)
  back[1] = -1.125
  np.testing.assert_array_equal(flow.is_consistent(there, back), [[1, 1, 1, 0, 0]] * 3)
