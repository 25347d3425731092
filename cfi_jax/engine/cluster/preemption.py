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
    """Whether all processes are to save and stop now; asked after every dispatch of steps.

    asked: number of this call since the start of the process: 1, 2, ... without a gap. JAX agrees
    on a number yet to come, and a number left out would lose the signal.
    """
    return self._requested or multihost_utils.reached_preemption_sync_point(asked)
