"""Scores as arrays: the same table as rows make."""

import numpy as np

from cfi_jax.metrics import Row, Scores
from cfi_jax.metrics.columns import Columns

COLUMNS = [
  ("m", "strict", "EN"),
  ("m", "strict", "SD"),
  ("m", "tang", "Qabf"),
  ("n", "strict", "EN"),
]
NAMES = ("a", "b")
VALUES = np.arange(8).reshape(4, 2) + 0.123456789012
DEGENERATE = np.array([[False, True], [False, False], [True, False], [False, False]])


def rows():
  """The same in rows: all of a method and convention, name by name."""
  for own in ((0, 1), (2,), (3,)):
    for i, name in enumerate(NAMES):
      for k in own:
        method, convention, metric = COLUMNS[k]
        yield Row(method, name, metric, convention, VALUES[k, i], bool(DEGENERATE[k, i]))


def test_columns_are_the_table_of_their_rows():
  columns, scores = Columns(COLUMNS, NAMES, VALUES, DEGENERATE), Scores(tuple(rows()))
  assert len(columns) == len(scores) == 8
  for name in ("methods", "names", "metrics", "conventions"):
    assert getattr(columns, name) == getattr(scores, name)
  for metric in scores.metrics:
    np.testing.assert_array_equal(columns.values(metric), scores.values(metric))
  assert columns.to_csv() == scores.to_csv()
