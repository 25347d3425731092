"""Mean ranks: hand-checked ones, ties, missing scores, directions."""

import math
import re

import numpy as np
import pytest
from command_line import SHARED

from cfi_jax.metrics import METRICS
from cfi_jax.report.ranks import RANKED, describe, mean_ranks, ranks

BASELINES = SHARED / "reference" / "baselines.md"
NAN, INFINITE = math.nan, math.inf


def read_baselines(heading):
  """{method: {metric: mean}} of a table of the shared file, read here by other code."""
  section = BASELINES.read_text().split(f"## {heading} ")[1].split("\n## ")[0]
  rows = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in section.splitlines() if "|" in line]
  head, _, *rows = rows
  return {name: dict(zip(head[1:], map(float, cells), strict=True)) for name, *cells in rows}


@pytest.mark.skipif(not BASELINES.exists(), reason="no reference data of the workplace")
def test_mean_ranks_of_published_tables():
  """Ranks counted by hand in the table of six MSRS pairs, of 13 rows."""
  table = read_baselines("MSRS6")
  assert len(table) == 13
  by_hand = {
    # AG SF EN SD PSNR CC SCD MI VIF Qabf SSIM MS_SSIM
    # CC is .643 of isfuse and isfuse_jpg, MS_SSIM .950 of both and of max.
    "isfuse": ((2, 3, 5, 5, 5, 3.5, 4, 9, 6, 6, 8, 5), 61.5 / 12),
    "max": ((8, 8, 3, 1, 13, 9, 3, 1, 1, 1, 1, 5), 54 / 12),
    "tardal": ((13, 11, 13, 13, 10, 13, 13, 11, 13, 13, 12, 13), 148 / 12),
    # seafusion_mm has the same CC, SCD, VIF, SSIM and MS_SSIM.
    "seafusion": ((5, 5, 1, 2, 12, 6.5, 1.5, 3, 2.5, 4, 2.5, 2.5), 47.5 / 12),
  }
  found = mean_ranks(table)
  for name, (places, mean) in by_hand.items():
    for metric, place in zip(RANKED, places, strict=True):
      values = [row[metric] for row in table.values()]
      assert ranks(values, metric, "average")[list(table).index(name)] == place, (name, metric)
    assert found[name] == pytest.approx(mean), name
  # All ranks of a table of n rows sum to n (n + 1) / 2 on each metric.
  for heading in ("TNO42", "RoadScene50", "MSRS6", "MRI_CT"):
    table = read_baselines(heading)
    n = len(table)
    assert sum(mean_ranks(table).values()) == pytest.approx(n * (n + 1) / 2)


def test_ranks_are_taken_on_twelve_scores_of_quality():
  assert len(RANKED) == 12 and set(RANKED) < set(METRICS) and "Nabf" not in RANKED
  assert describe(("EN", "SF")).startswith("Mean rank: the mean of a row's ranks on EN, SF among")


def test_ties_share_the_mean_of_their_ranks():
  table = {
    "a": {"EN": 3.0, "SF": 5.0},
    "b": {"EN": 2.0, "SF": 5.0},
    "c": {"EN": 2.0, "SF": 5.0},
    "d": {"EN": 1.0, "SF": 6.0},
  }
  assert mean_ranks(table) == {"a": 2.0, "b": 2.75, "c": 2.75, "d": 2.5}
  # EN 1, 2.5, 2.5, 4; SF 3, 3, 3, 1
  assert ranks([3, 2, 2, 1], "EN", "min").tolist() == [1, 2, 2, 4]


def test_lower_is_better_where_the_metric_says_so():
  values = [0.5, 0.1, 0.1]
  assert ranks(values, "Nabf", "average").tolist() == [3, 1.5, 1.5]
  assert ranks(values, "EN", "average").tolist() == [1, 2.5, 2.5]
  table = {"a": {"EN": 2.0, "MSE": 9.0}, "b": {"EN": 1.0, "MSE": 3.0}}
  assert mean_ranks(table, ("EN", "MSE")) == {"a": 1.5, "b": 1.5}
  assert mean_ranks(table, ("MSE",)) == {"a": 2.0, "b": 1.0}
  assert mean_ranks(table) == {"a": 1.0, "b": 2.0}  # MSE is none of the twelve


@pytest.mark.parametrize("missing", [{}, {"SCD": NAN}, {"SCD": INFINITE}, {"SCD": -INFINITE}])
def test_a_row_without_a_score_that_others_have_is_not_ranked(missing):
  table = {
    "source": {"EN": 9.0} | missing,
    "a": {"EN": 3.0, "SCD": 1.0},
    "b": {"EN": 4.0, "SCD": 1.5},
  }
  found = mean_ranks(table)
  assert math.isnan(found.pop("source")) and found == {"a": 2.0, "b": 1.0}
  assert list(mean_ranks(table)) == ["source", "a", "b"]


def test_a_score_that_no_row_has_is_left_out():
  table = {"a": {"EN": 3.0, "VIF": NAN}, "b": {"EN": 4.0, "VIF": NAN}}
  assert mean_ranks(table) == {"a": 2.0, "b": 1.0}


def test_tables_with_nothing_to_rank():
  assert mean_ranks({}) == {}
  assert np.isnan(list(mean_ranks({"a": {}, "b": {"Nabf": 0.1}}).values())).all()
  crossed = {"a": {"EN": 3.0}, "b": {"SF": 4.0}}  # each lacks what the other has
  assert np.isnan(list(mean_ranks(crossed).values())).all()
  assert mean_ranks({"a": {"EN": 3.0}}) == {"a": 1.0}
  assert np.isnan(ranks([NAN, NAN], "EN", "min")).all()


def test_values_without_a_number_have_no_rank_and_take_none():
  found = ranks([2.0, NAN, 5.0, INFINITE], "EN", "min")
  assert found[[0, 2]].tolist() == [2, 1] and np.isnan(found[[1, 3]]).all()
