"""The bootstrap that every interval comes from."""

import numpy as np
import pytest

from cfi_jax.report.estimates import UNDEFINED, draws, estimate, percentiles


def test_an_estimate_is_that_of_the_finite_values():
  values = np.array([1.0, np.nan, 3.0, np.inf])
  found = estimate(values)
  assert (found.mean, found.low, found.high) == (2, 1, 3)  # two images: either may come alone
  assert estimate(np.array([np.nan])) == UNDEFINED


def test_the_interval_is_that_of_resampled_means():
  values = np.random.default_rng(0).normal(size=30)
  means = [values[np.repeat(np.arange(30), row)].mean() for row in draws(30, 0)]
  found = estimate(values)
  assert found.mean == pytest.approx(values.mean())
  assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_draws_depend_on_their_arguments_alone():
  first = draws(5, (0, 1), 10)
  draws.cache_clear()
  np.testing.assert_array_equal(first, draws(5, (0, 1), 10))
  assert first.shape == (10, 5) and (first.sum(axis=1) == 5).all()
  assert (first != draws(5, (0, 0), 10)).any()


def test_resamples_without_a_number_are_left_out():
  found = percentiles(0.5, np.array([np.nan, 0.0, 1.0]))
  assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))
  assert percentiles(np.nan, np.array([1.0])) == percentiles(1.0, np.array([np.nan])) == UNDEFINED
