"""Findings of an analysis: one per key, means of the finite values, and their table."""

import csv
import io
import math

import numpy as np
import pytest

from cfi_jax.report.findings import COLUMNS, csv_text, find, tabulate, to_csv


def numbers(finding):
  return finding.estimate.mean, finding.estimate.low, finding.estimate.high


def test_values_that_are_not_finite_are_left_out():
  found = find("m", "gates", "q", "c", np.array([1.0, np.nan, 3.0, np.inf, -np.inf]))
  assert numbers(found) == (2, 1, 3) and found.samples == 2 and math.isnan(found.x)
  assert (found.model, found.analysis, found.quantity, found.condition) == ("m", "gates", "q", "c")


@pytest.mark.parametrize(("values", "mean"), [([5.0, np.nan], 5.0), ([np.nan], np.nan)])
def test_fewer_than_two_samples_have_no_interval(values, mean):
  found = find("m", "a", "q", "c", values, 2.0)
  assert found.estimate.mean == pytest.approx(mean, nan_ok=True)
  assert math.isnan(found.estimate.low) and math.isnan(found.estimate.high)
  assert found.samples == np.isfinite(values).sum() and found.x == 2.0


def test_a_table_has_a_finding_per_key_in_the_order_of_appearance():
  rows = [
    {("q", "c", None): 1.0, ("q", "c", 8): 4.0},
    {("q", "d", None): 7.0, ("q", "c", None): 3.0, ("q", "c", 0): 9.0},
  ]
  found = tabulate("m", "effects", rows)
  described = [(f.quantity, f.condition, f.x, f.estimate.mean, f.samples) for f in found]
  assert described == [
    ("q", "c", pytest.approx(math.nan, nan_ok=True), 2.0, 2),
    ("q", "c", 8, 4.0, 1),
    ("q", "d", pytest.approx(math.nan, nan_ok=True), 7.0, 1),
    ("q", "c", 0, 9.0, 1),
  ]


def test_the_csv_has_nine_digits_and_nothing_for_nan():
  two = find("m", "gates", 'a "b", c', "d", np.array([1 / 3, 2 / 3]), 0.0)
  one = find("m", "gates", "q", "d", np.array([1e-12]))
  header, first, second = csv.reader(io.StringIO(to_csv([two, one])))
  assert tuple(header) == COLUMNS
  assert first == ["m", "gates", 'a "b", c', "d", "0", "0.5", "0.333333333", "0.666666667", "2"]
  assert second == ["m", "gates", "q", "d", "", "1e-12", "", "", "1"]
  assert csv_text(["a", "b"], [[1, 2], [3, 4]]) == "a,b\n1,2\n3,4\n"
