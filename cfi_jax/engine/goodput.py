"""Goodput: the share of a run's time that went into steps, and what the rest went into."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cfi_jax.core.progress import duration

# Kinds of time, each with its words. Lost is the time of steps that had to be taken again, as a
# process ended after them and before a checkpoint; of a run that is not under way nothing counts.
KINDS = {
  "steps": "in steps",
  "input": "waiting for input",
  "compiling": "compiling",
  "validating": "validating",
  "saving": "saving",
  "starting": "starting",
  "lost": "lost",
}
FIELDS = ("goodput", *(f"seconds_{kind}" for kind in KINDS))  # of a row of the logs


class Goodput:
  """Counts the seconds of a run by kind, over all its starts.

  The host's time is what counts: it waits for input while the devices may still be working on the
  dispatch before, so the share of input is the most that they can have stood still for it.
  """

  def __init__(self, clock: Callable[[], float] = time.perf_counter):
    """Begins to count, as starting; clock: seconds."""
    self._clock, self._kind = clock, "starting"
    self._since = clock()
    self._seconds = dict.fromkeys(KINDS, 0.0)

  def enter(self, kind: str) -> str:
    """Counts as `kind` from now on; returns the kind until now."""
    before, now = self._kind, self._clock()
    self._seconds[before] += now - self._since
    self._kind, self._since = kind, now
    return before

  @contextlib.contextmanager
  def during(self, kind: str) -> Iterator[None]:
    """Counts what is done inside as `kind`."""
    before = self.enter(kind)
    try:
      yield
    finally:
      self.enter(before)

  def waited(self, seconds: float) -> None:
    """Counts so many of the seconds of the steps until now as waiting for input."""
    self.enter(self._kind)
    self._seconds["steps"] -= seconds
    self._seconds["input"] += seconds

  def go_on(self, rows: Sequence[Mapping[str, Any]], step: int) -> None:
    """Adds the times of earlier starts, by their rows of the logs; what is after `step` is lost."""
    timed = [row for row in rows if all(name in row for name in FIELDS)]
    kept = [row for row in timed if row["step"] <= step]
    for kind in KINDS:
      self._seconds[kind] += kept[-1][f"seconds_{kind}"] if kept else 0.0
    if len(kept) < len(timed):
      total = sum(timed[-1][f"seconds_{kind}"] for kind in KINDS)
      before = sum(kept[-1][f"seconds_{kind}"] for kind in KINDS) if kept else 0.0
      self._seconds["lost"] += max(0.0, total - before)

  def row(self) -> dict[str, float]:
    """The share of the time in steps, in [0, 1], and the seconds of every kind, until now."""
    shares = self._shares()
    return {"goodput": shares["steps"]} | {f"seconds_{k}": s for k, s in self._seconds.items()}

  def describe(self) -> str:
    """One line: the shares of all kinds."""
    shares = [f"{100 * share:.0f} % {KINDS[kind]}" for kind, share in self._shares().items()]
    return f"{duration(sum(self._seconds.values()))}: {', '.join(shares)}"

  def _shares(self) -> dict[str, float]:
    """The share of every kind until now, in [0, 1]; 0 where no time has passed."""
    self.enter(self._kind)
    total = sum(self._seconds.values())
    return {kind: s / total if total else 0.0 for kind, s in self._seconds.items()}
