"""SIGTERM as a request to save and stop, agreed on by all processes of a run."""

import signal
import threading

import jax
from jax.experimental import multihost_utils


class Preemption:
  """Owns the SIGTERM handler while a run is under way; a context manager.

  With several processes JAX's own service hears the signal, whichever process gets it, and agrees
  on one step that every process has yet to finish.
  """

  def __init__(self):
    """Does nothing until entered."""
    self._requested = False
    self._previous = None

  def __enter__(self) -> "Preemption":
    """Installs the handler (one process; only the main thread may)."""
    if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
      self._previous = signal.signal(signal.SIGTERM, self._request)
    return self

  def __exit__(self, *exception) -> None:
    """Puts the previous handler back."""
    if self._previous is not None:
      signal.signal(signal.SIGTERM, self._previous)

  def _request(self, signum, frame) -> None:
    del signum, frame
    self._requested = True

  def reached(self, asked: int) -> bool:
    """Whether all processes are to save and stop now; to be asked after every dispatch of steps.

    asked: how often it has been asked since this start of the run, this time included: 1, 2, ...
    JAX agrees on the next such number, so one that is left out, as by counting steps or by going on
    from before a restart, would lose the signal.
    """
    return self._requested or multihost_utils.reached_preemption_sync_point(asked)
