"""Scores of very many images, an array for every method and metric instead of rows."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.metrics.table import COLUMNS

Column = tuple[str, str, str]  # method, convention, metric


class Columns:
  """A table with the properties of `Scores`, of nine bytes a score.

  columns: in the order of `Scores.rows`: all of a method stand together, and in it all of a
  convention. values, degenerate: [columns, names].
  """

  def __init__(
    self,
    columns: Sequence[Column],
    names: Sequence[str],
    values: np.ndarray,
    degenerate: np.ndarray,
  ):
    """Takes the arrays as they are."""
    self._columns = {column: k for k, column in enumerate(columns)}
    self.names = tuple(names)
    self._values, self._degenerate = values, degenerate
    self.methods = tuple(dict.fromkeys(method for method, _, _ in columns))
    self.metrics = tuple(dict.fromkeys(metric for _, _, metric in columns))

  def __len__(self) -> int:
    """The number of scores."""
    return self._values.size

  @property
  def conventions(self) -> Mapping[str, str]:
    """The convention of every metric."""
    return {metric: convention for _, convention, metric in self._columns}

  def values(self, metric: str) -> np.ndarray:
    """float64 [methods, names] of one metric; NaN where it is degenerate or was not scored."""
    found = np.full((len(self.methods), len(self.names)), np.nan)
    for (method, _, own), k in self._columns.items():
      if own == metric:
        row = found[self.methods.index(method)]
        np.copyto(row, self._values[k], where=~self._degenerate[k])
    return found

  def to_csv(self) -> str:
    """The text of `Scores.to_csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(self._lines())
    return text.getvalue()

  def _lines(self) -> Iterator[tuple]:
    for first in dict.fromkeys(column[:2] for column in self._columns):
      own = [(column[2], k) for column, k in self._columns.items() if column[:2] == first]
      for i, name in enumerate(self.names):
        for metric, k in own:
          line = (first[0], name, metric, first[1])
          yield (*line, f"{self._values[k, i]:.9g}", int(self._degenerate[k, i]))
