"""Seconds: of one call, of many in turn, their median and quartiles, and ratios of two."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Seconds = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Spread:
  """Median and quartiles of `count` measurements, in seconds."""

  median: float
  low: float
  high: float
  count: int


def spread(seconds: Seconds) -> Spread:
  """Median and quartiles; of a single measurement, that one."""
  low, median, high = (
    statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * [seconds[0]]
  )
  return Spread(median, low, high, len(seconds))


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
  """(result, seconds) of a call."""
  began = time.perf_counter()
  result = function()
  return result, time.perf_counter() - began


def take_turns(measures: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
  """Seconds by name: in every turn each measures once, so what disturbs one disturbs all."""
  seconds: dict[str, list[float]] = {name: [] for name in measures}
  for _ in range(turns):
    for name, measure in measures.items():
      seconds[name].append(measure())
  return seconds


def speedup(reference: Seconds, own: Seconds, paired: bool) -> float:
  """Speed-up of `own` over `reference`: the median of the ratios within a turn where the
  measurements are paired, else the ratio of the medians.
  """
  if paired:
    return statistics.median(a / b for a, b in zip(reference, own, strict=True))
  return statistics.median(reference) / statistics.median(own)
