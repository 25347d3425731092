"""Bootstrap draws as weights, their intervals, and other images for images."""

import numpy as np
import pytest

from cfi_jax.report import estimates, resampling


def test_the_first_row_is_the_sample_and_the_others_resamples_of_it():
  drawn = resampling.draws(5, 7, 3)
  assert drawn.shape == (8, 5) and (drawn[0] == 1).all() and (drawn.sum(1) == 5).all()
  np.testing.assert_array_equal(drawn[1:], estimates.draws(5, 3, 7))


@pytest.mark.parametrize(("lost", "known"), [(0, True), (10, True), (11, False)])
def test_an_interval_has_the_scatter_of_the_resamples_about_the_value(lost, known, random):
  values = np.concatenate([[2.0], random.normal(7, 0.5, 100)])
  values[1 : 1 + lost] = np.nan
  found = resampling.interval(values)
  assert found.mean == 2.0
  kept = values[1 + lost :]
  ends = np.percentile(kept - np.median(kept), (2.5, 97.5)) + 2.0
  expected = ends if known else (np.nan, np.nan)
  np.testing.assert_allclose((found.low, found.high), expected, atol=1e-9)


def test_a_value_that_is_no_number_has_no_interval():
  found = resampling.interval(np.array([np.nan, 1.0, 2.0]))
  assert np.isnan([found.mean, found.low, found.high]).all()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_no_image_is_its_own_other_and_each_is_used_once(count):
  for seed in range(20):
    found = resampling.another(count, np.random.default_rng(seed))
    assert sorted(found) == list(range(count)) and (found != np.arange(count)).all()
