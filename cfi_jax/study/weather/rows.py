"""Rows of a study of weather: every mean with its interval, its difference and its share closed."""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.metrics import METRICS, read_scores
from cfi_jax.report import crossed
from cfi_jax.report.crossed import Tally
from cfi_jax.report.estimates import Estimate
from cfi_jax.study.weather import measure
from cfi_jax.study.weather.methods import Column, Methods
from cfi_jax.study.weather.settings import Cell
from cfi_jax.systems import restoring

FUSED, RESTORED = "fused", "restored"


@dataclasses.dataclass(frozen=True)
class Row:
  """One metric of one method on one test under one kind and level of weather.

  of: whether "fused" images were scored, or "restored" visible ones. method: its name in tables.
  images, seeds: their numbers; an image counts once per seed. score: over images and seeds.
  difference: to the reference, of restored images to the degraded ones; None for these themselves.
    The upper bound's is the distance that there is to close.
  closed: share of the distance from the reference to the upper bound; None where there is none, or
    where the bound is not ahead of the reference by more than chance.
  """

  of: str
  test: str
  kind: str
  level: str
  method: str
  metric: str
  images: int
  seeds: int
  score: Estimate
  difference: Estimate | None
  closed: Estimate | None

  @property
  def place(self) -> tuple[str, str, str]:
    """Test, kind and level."""
    return self.test, self.kind, self.level


def to_json_lines(rows: Iterable[Row]) -> str:
  """One line of JSON per row; numbers that are not defined are null."""
  return "".join(json.dumps(_plain(dataclasses.asdict(row))) + "\n" for row in rows)


def _plain(value: object) -> object:
  if isinstance(value, dict):
    return {key: _plain(each) for key, each in value.items()}
  return None if isinstance(value, float) and not math.isfinite(value) else value


def find(workdir: pathlib.Path, methods: Methods, done: Sequence[Cell]) -> list[Row]:
  """The rows of the cells that are done, every test with its clean pairs among them."""
  study, rows = methods.study, []
  read = functools.cache(read_scores)

  def tally(cells: Sequence[Cell], column: Column, metric: str) -> Tally:
    """A metric of one column, a row per cell."""
    values = []
    for cell in cells:
      path = measure.file(workdir, cell, column.key)
      scores = read(path)
      if scores.methods != (column.key,) or metric not in scores.metrics:
        raise InputError(f"{path}: does not hold {metric} of {column.key}; remove it")
      values.append(scores.values(metric)[0])
    return Tally.of(np.stack(values))

  for test, kind, level in itertools.product(study.score, study.kinds, study.levels):
    cells = [cell for cell in done if cell[:3] == (test, kind, level)]
    if not cells:
      continue
    place = (test, kind, level)
    clean = [cell for cell in done if cell.test == test and not cell.kind] * len(cells)
    (bound,) = methods.fused(clean[0])
    for metric in study.metrics:
      tallies = {c.name: tally(cells, c, metric) for c in methods.fused(cells[0])}
      tallies[bound.name] = tally(clean, bound, metric)  # the same for every seed
      rows += _rows(FUSED, place, metric, tallies, study.reference, bound.name)
    if methods.restorers:
      for metric in restoring.METRICS:
        tallies = {c.name: tally(cells, c, metric) for c in methods.restored(cells[0])}
        rows += _rows(RESTORED, place, metric, tallies, restoring.NOTHING, None)
  return rows


def _rows(
  of: str,
  place: tuple[str, str, str],
  metric: str,
  tallies: Mapping[str, Tally],
  reference: str,
  bound: str | None,
) -> Iterator[Row]:
  """The rows of one metric in one place; tallies: by method, the reference and bound among them."""
  for name, own in tallies.items():
    difference = closed = None
    if name != reference:
      difference = crossed.difference(*_both(own, tallies[reference]))
      if bound is not None and name != bound:
        closed = _closed(*_both(own, tallies[reference], tallies[bound]), metric)
    images = own.sums.shape[::-1]
    yield Row(of, *place, name, metric, *images, crossed.estimate(own), difference, closed)


def _closed(own: Tally, start: Tally, end: Tally, metric: str) -> Estimate | None:
  """The share of the distance that is closed; None where there is no distance but by chance."""
  distance = crossed.difference(end, start)
  better = distance.low > 0 if METRICS[metric].direction == "higher" else distance.high < 0
  return crossed.closed(own, start, end) if better else None


def _both(*tallies: Tally) -> list[Tally]:
  """The tallies of what all of them count."""
  counts = np.prod([tally.counts for tally in tallies], axis=0)
  return [Tally(tally.sums * counts, counts) for tally in tallies]
