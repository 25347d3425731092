"""SIGTERM, SIGHUP and Ctrl-C as requests to save and stop, agreed on by all processes of a run."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils

from cfi_jax.core import interruption

SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")


class Preemption:
  """Owns the handlers of `SIGNALS` while a run is under way; a context manager.

  With several processes JAX's own service hears SIGTERM, whichever process gets it, and agrees on
  one step that every process has yet to finish; the other signals are handed on as SIGTERM. Ctrl-C
  (SIGINT) stops at once before `begin`, when there is nothing to save, and when it comes again; a
  third puts nothing away.
  asked_by: name of the signal that came; "" before.
  """

  def __init__(self):
    """Does nothing until entered."""
    self.asked_by = ""
    self._begun = False
    self._stop = interruption.Once()
    self._previous: dict[int, Callable | int | None] = {}

  def __enter__(self) -> "Preemption":
    """Installs the handlers (only the main thread may); leaves ignored signals ignored (nohup)."""
    if threading.current_thread() is threading.main_thread():
      for name in SIGNALS[jax.process_count() > 1 :]:
        number = getattr(signal, name)
        if name == "SIGTERM" or signal.getsignal(number) is not signal.SIG_IGN:
          self._previous[number] = signal.signal(number, self._request)
    return self

  def __exit__(self, *exception) -> None:
    """Puts the previous handlers back."""
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def begin(self) -> None:
    """Says that steps are taken from now on, which a first Ctrl-C shall not lose.

    Raises KeyboardInterrupt for one that came before and was lost, as in a callback of the garbage
    collector, whose exceptions Python drops.
    """
    self._begun = True
    if self.asked_by == "SIGINT":
      raise KeyboardInterrupt

  def _request(self, number: int, frame: Any) -> None:
    del frame
    again = bool(self.asked_by)
    self.asked_by = self.asked_by or signal.Signals(number).name
    if number == signal.SIGINT and (again or not self._begun):
      self._stop(number, None)  # what the one before puts away may take its time, too
    if number == signal.SIGINT:
      start = "\n" if sys.stderr.isatty() else ""  # after a progress bar
      line = f"{start}SIGINT: saving after this step; once more stops at once\n"
      os.write(2, line.encode())  # print may be the very thing that is interrupted
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)

  def reached(self, asked: int) -> bool:
    """Whether all processes are to save and stop now; asked after every dispatch of steps.

    asked: number of this call since the start of the process: 1, 2, ... without a gap. JAX agrees
    on a number yet to come, and a number left out would lose the signal.
    """
    if jax.process_count() == 1 and self.asked_by:
      return True
    return multihost_utils.reached_preemption_sync_point(asked)
