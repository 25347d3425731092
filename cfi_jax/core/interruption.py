"""Ctrl-C in a command: one line and status 130, also while Python still imports."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

STATUS = 128 + 2  # of what SIGINT ended, as shells have it
PACKAGE, SCRIPT = "cfi_jax", "cfi-jax"
_MACHINERY = "<frozen importlib._bootstrap>"  # the file of Python's functions that import


def is_command() -> bool:
  """Whether this process was started as a command of ours, `python -m cfi_jax...` or the script.

  Asked while the package is imported: until Python has found a module, its program is "-m".
  """
  program, given = "".join(sys.argv[:1]), sys.orig_argv
  if program == "-m" and "-m" in given[:-1]:
    return given[given.index("-m") + 1].split(".")[0] == PACKAGE
  return os.path.basename(program) == SCRIPT


def hear() -> None:
  """Hears SIGINT from now on, unless it is ignored (nohup) or somebody else hears it."""
  alone = threading.current_thread() is threading.main_thread()
  if alone and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, Once())


def exit_at_once() -> NoReturn:
  """Says so and ends the process; nothing is put away."""
  os.write(2, b"interrupted\n")  # print may be the very thing that is interrupted
  os._exit(STATUS)


class Once:
  """A handler that raises KeyboardInterrupt once, so that work is put away, and then exits at once.

  So it does while a module is imported: there is nothing to put away yet, and an exception there
  crashes JAX's libraries. Without a frame nobody looks for that.
  """

  def __init__(self) -> None:
    """Has heard nothing yet."""
    self._heard = False

  def __call__(self, number: int, frame: Any) -> None:
    """Hears a signal."""
    if self._heard or _imports(frame):
      exit_at_once()
    self._heard = True
    raise KeyboardInterrupt


def _imports(frame: Any) -> bool:
  while frame is not None:
    if frame.f_code.co_filename == _MACHINERY:
      return True
    frame = frame.f_back
  return False
