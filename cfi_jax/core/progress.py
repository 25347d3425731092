"""Progress of long work on stderr: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

import tqdm

FIRST, EVERY = 10.0, 30.0  # seconds until the first line and from line to line
DELAY = 2.0  # seconds before a bar is drawn: short work shows none

T = TypeVar("T")


class Progress:
  """Progress of work that is counted; a context manager.

  title: of the work. unit: name of what is counted, in the singular. total: their number, if known.
  done: those of it that an earlier run did. shown: False says nothing.
  A line is "title: 120 of 480 pairs (25 %), 3.1 pairs/s, 1 min 56 s left, loss 0.12".
  """

  def __init__(
    self, title: str, unit: str, total: int | None = None, *, done: int = 0, shown: bool = True
  ):
    """Begins to measure the time; a bar begins at `done`."""
    self._title, self._unit, self._total = title, unit, total
    self._before = self._done = done
    self._note = ""
    self._began = time.monotonic()
    self._next = self._began + FIRST
    terminal = shown and sys.stderr.isatty()
    self._lines = shown and not terminal
    self._bar = (
      tqdm.tqdm(desc=title, total=total, initial=done, unit=unit, delay=DELAY, mininterval=0.5)
      if terminal
      else None
    )

  def __enter__(self) -> "Progress":
    """Returns itself."""
    return self

  def __exit__(self, *exception: Any) -> None:
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()

  def note(self, text: str) -> None:
    """Changes what is said beside the numbers, such as the last loss."""
    self._note = text
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)

  def update(self, count: int = 1) -> None:
    """Counts work that is done."""
    self._done += count
    if self._bar is not None:
      self._bar.update(count)
    elif self._lines and time.monotonic() >= self._next:
      self._next = time.monotonic() + EVERY
      print(self._line(), file=sys.stderr, flush=True)

  def _line(self) -> str:
    seconds = time.monotonic() - self._began
    speed = (self._done - self._before) / seconds
    if self._total is None:
      counted = f"{self._done} {self._unit}s"
    else:
      share = 100 * self._done / max(self._total, 1)
      counted = f"{self._done} of {self._total} {self._unit}s ({share:.0f} %)"
    parts = [f"{self._title}: {counted}", f"{speed:.3g} {self._unit}s/s"]
    if self._total is not None and speed:
      parts.append(f"{duration((self._total - self._done) / speed)} left")
    return ", ".join([*parts, *([self._note] if self._note else [])])


def track(
  items: Iterable[T], title: str, unit: str, total: int | None = None, *, shown: bool = True
) -> Iterator[T]:
  """Yields the items, with `Progress` over them; total: their number, else len(items) if known."""
  if total is None and isinstance(items, Sized):
    total = len(items)
  with Progress(title, unit, total, shown=shown) as progress:
    for item in items:
      yield item
      progress.update()


def duration(seconds: float) -> str:
  """A time in its two largest units: "3 h 5 min", "2 min 10 s", "9 s"."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f"{hours} h {minutes} min"
  return f"{minutes} min {rest} s" if minutes else f"{rest} s"
