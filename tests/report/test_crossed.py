"""Intervals over crossed seeds and scenes, against what is known of normal samples."""

import numpy as np
import pytest

from cfi_jax.report.crossed import Tally, closed, combine, difference, estimate, image_draws
from cfi_jax.report.resampling import draws


def tally(values):
  values = np.asarray(values, float)
  return Tally(values, np.ones_like(values))


def half_width(interval):
  return (interval.high - interval.low) / 2


def test_sums_are_divided_after_they_are_added():
  found = estimate(Tally(np.array([[1.0, 0.0, 9.0]]), np.array([[1.0, 0.0, 3.0]])))
  assert found.mean == 2.5
  assert found.low == 1 and found.high == 3  # one of the scenes alone; the empty one never


def test_nothing_counted_is_nan():
  assert np.isnan(estimate(Tally(np.zeros((2, 3)), np.zeros((2, 3)))).mean)


@pytest.mark.parametrize(("seeds_count", "scenes"), [(1, 400), (50, 50)])
def test_intervals_have_the_width_of_both_sources_of_chance(seeds_count, scenes):
  rng = np.random.default_rng(0)
  of_seed, of_scene = rng.normal(size=(seeds_count, 1)), rng.normal(size=(1, scenes))
  found = estimate(tally(of_seed * (seeds_count > 1) + of_scene))
  variance = of_scene.var() / scenes + (of_seed.var() / seeds_count if seeds_count > 1 else 0)
  assert half_width(found) == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)


def test_more_seeds_do_not_hide_that_the_scenes_are_the_same():
  of_scene = np.random.default_rng(1).normal(size=(1, 100))
  one, many = estimate(tally(of_scene)), estimate(tally(np.repeat(of_scene, 20, 0)))
  assert half_width(many) == pytest.approx(half_width(one), rel=0.05)


def test_differences_are_paired_over_scenes_and_seeds():
  rng = np.random.default_rng(2)
  values = rng.normal(size=(5, 40)) + rng.normal(size=(5, 1))
  found = difference(tally(values + 0.25), tally(values))
  assert found.mean == pytest.approx(0.25) and half_width(found) < 1e-9


def test_a_model_without_seeds_stands_against_every_seed():
  rng = np.random.default_rng(3)
  of_seed = rng.normal(size=(30, 1)) * np.ones((1, 10))
  found = difference(tally(np.zeros((1, 10))), tally(of_seed))
  assert found.mean == pytest.approx(-of_seed.mean())
  student = 2.045 * of_seed.std(ddof=1) / np.sqrt(30)  # 29 degrees of freedom
  assert half_width(found) == pytest.approx(student, rel=0.1)
  of_scene = rng.normal(size=(1, 10))
  paired = difference(tally(of_scene), tally(np.repeat(of_scene, 3, 0)))
  assert half_width(paired) < 1e-9


def test_three_seeds_that_differ_by_chance_seldom_leave_out_zero():
  """Their plain percentiles do so in 28 % of all studies, and claim 5 %."""
  rng, studies = np.random.default_rng(4), 200
  outside = 0
  for _ in range(studies):
    found = estimate(tally(rng.normal(size=(3, 1)) + rng.normal(size=(3, 40))))
    outside += found.low > 0 or found.high < 0
  assert outside < 0.1 * studies


def test_images_are_drawn_apart_from_seeds():
  """As many of both: were they drawn alike, one difference would hide the other."""
  of = np.arange(3.0)
  images = image_draws(3, 2000) @ of / 3
  widths = [half_width(combine(of[:, None] + sign * images)) for sign in (1, -1)]
  assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_two_seeds_say_as_little_as_students_t_of_one_degree():
  found = combine(np.repeat([[0.0], [1.0]], 401, 1))  # no chance of images
  assert found.mean == 0.5
  assert half_width(found) == pytest.approx(12.706 / 1.96 * np.sqrt(2) / 2, rel=1e-3)


def test_the_share_of_a_distance_is_that_of_means_and_paired():
  rng = np.random.default_rng(2)
  scenes = rng.normal(size=(1, 40))  # far more chance than the distance, and the same for all
  start, end = tally(np.repeat(scenes, 3, 0)), tally(np.repeat(scenes + 0.1, 3, 0))
  part = closed(tally(np.repeat(scenes + 0.03, 3, 0)), start, end)
  assert part.mean == pytest.approx(0.3) and half_width(part) < 1e-9
  apart = tally(np.repeat(scenes + 0.1 * rng.uniform(0, 1, size=(3, 40)), 3, 0)[:3])
  wide = closed(apart, start, end)
  assert wide.low < wide.mean < wide.high and 0.3 < wide.mean < 0.7
  assert np.isnan(closed(start, start, start).mean)


def test_a_tally_counts_what_is_finite():
  found = Tally.of(np.array([[1.0, np.nan, 3.0]]))
  assert found.mean == 2 and found.counts.tolist() == [[1, 0, 1]]


def test_statistics_of_seeds_are_combined_as_sums_are():
  rng = np.random.default_rng(5)
  values = rng.normal(size=(8, 1)) + rng.normal(size=(8, 50)) + rng.normal(size=(1, 50))
  weights = draws(50, 2000, 0)
  drawn = (values @ weights.T) / weights.sum(1)
  found, expected = combine(drawn), estimate(tally(values))
  assert found.mean == pytest.approx(expected.mean)
  assert half_width(found) == pytest.approx(half_width(expected), rel=0.1)
  shifted = drawn.copy()
  shifted[:, 1:] += rng.normal(size=(8, 1))  # the bias of a share of variance in resamples
  assert combine(shifted).low == pytest.approx(combine(drawn).low, abs=0.05)
  drawn[3, 1:500] = np.nan
  assert np.isnan(combine(drawn).low) and combine(drawn).mean == pytest.approx(expected.mean)
