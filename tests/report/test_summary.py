"""Means, intervals, ranks and paired differences."""

import math

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.metrics import Row, Scores
from cfi_jax.report.summary import summarise


def table(values, metric="SSIM", degenerate=()):
  """Scores of {method: values per image}; degenerate: (method, image index)."""
  return Scores(
    tuple(
      Row(method, str(k), metric, "tang", float(v), (method, k) in degenerate)
      for method, row in values.items()
      for k, v in enumerate(row)
    )
  )


def test_means_ranks_and_direction():
  values = {"a": [0.5, 0.7], "b": [0.8, 0.9], "c": [0.6, 0.6]}
  summary = summarise(table(values), "a")
  assert [e.method for e in summary.ranked("SSIM")] == ["b", "a", "c"]
  assert [e.rank for e in summary.ranked("SSIM")] == [1, 2, 2]  # a and c share it
  assert summary.entries["SSIM", "b"].estimate.mean == pytest.approx(0.85)
  lower = summarise(table(values, "MSE"), "a")
  assert [e.rank for e in lower.ranked("MSE")] == [1, 1, 3]
  assert lower.entries["MSE", "b"].rank == 3


def test_interval_has_the_width_of_the_normal_one():
  rng = np.random.default_rng(4)
  values = rng.normal(3.0, 0.5, 400)
  estimate = summarise(table({"a": values}), "a").entries["SSIM", "a"].estimate
  half = 1.96 * values.std() / math.sqrt(400)
  assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
  assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_differences_are_paired():
  """A constant offset has an interval of no width, however much the images differ."""
  rng = np.random.default_rng(5)
  base = rng.normal(0, 10, 50)
  summary = summarise(table({"a": base, "b": base + 0.25}), "a")
  difference = summary.entries["SSIM", "b"].difference
  assert (difference.mean, difference.low, difference.high) == pytest.approx((0.25,) * 3)
  assert summary.entries["SSIM", "a"].difference is None
  estimate = summary.entries["SSIM", "a"].estimate
  assert estimate.high - estimate.low > 2


def test_differences_are_to_the_method_that_is_asked_for():
  """The last of three methods, and each of two metrics by its own values."""
  values = {"a": [1.0, 2.0], "b": [4.0, 7.0], "c": [0.5, 0.5]}
  rows = table(values).rows + table({k: np.multiply(10, v) for k, v in values.items()}, "SF").rows
  summary = summarise(Scores(rows), "c")
  for metric, scale in (("SSIM", 1), ("SF", 10)):
    found = {m: summary.entries[metric, m].difference for m in "abc"}
    assert found["a"].mean == pytest.approx(scale) and found["c"] is None
    assert found["b"].mean == pytest.approx(5 * scale)
    assert (found["b"].low, found["b"].high) == pytest.approx((3.5 * scale, 6.5 * scale))
  assert summary.compare_to == "c"


def test_the_interval_is_that_of_the_images_that_count():
  """One image that is left out among good ones neither moves the interval nor widens it."""
  values = np.random.default_rng(6).normal(3, 1, 60)
  rows = {"a": [*values, 1e6]}
  a = summarise(table(rows, degenerate={("a", 60)}), "a").entries["SSIM", "a"]
  half = 1.96 * values.std() / math.sqrt(60)
  assert a.count == 60 and a.estimate.mean == pytest.approx(values.mean())
  assert a.estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
  assert a.estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_degenerate_images_are_left_out_of_both_sides():
  values = {"a": [1.0, 2.0, math.inf], "b": [2.0, 50.0, 5.0]}
  summary = summarise(table(values, "PSNR", {("a", 2), ("b", 1)}), "a")
  a, b = (summary.entries["PSNR", m] for m in ("a", "b"))
  assert (a.count, b.count) == (2, 2)
  assert a.estimate.mean == 1.5 and b.estimate.mean == 3.5
  assert b.difference.mean == 1.0  # only the first image is defined for both


def test_a_method_without_any_image_has_no_rank():
  summary = summarise(table({"a": [1.0], "b": [math.nan]}, degenerate={("b", 0)}), "a")
  assert summary.entries["SSIM", "b"].rank is None
  assert math.isnan(summary.entries["SSIM", "b"].estimate.mean)
  assert math.isnan(summary.entries["SSIM", "b"].difference.mean)
  assert summary.ranked("SSIM")[-1].method == "b"


def test_the_same_table_gives_the_same_intervals():
  scores = table({"a": np.arange(9.0)})
  assert summarise(scores, "a") == summarise(scores, "a")


def test_bad_input():
  with pytest.raises(InputError, match="no method 'z'.*methods: a"):
    summarise(table({"a": [1.0]}), "z")
  with pytest.raises(InputError, match="empty"):
    summarise(Scores(()), "a")
