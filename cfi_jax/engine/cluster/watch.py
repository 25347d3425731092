"""Noticing, in one of several processes, that another is lost or has stopped, and saying which.

Each process leaves a sign of life in the store of jax.distributed and looks for those of the
others, in a thread of its own: this goes on while the main thread waits in a collective for a
process that is no more, which some backends do without end. Left to itself JAX notices as well, but
later (process 0 gone: at once), and aborts without a plain word about which process it was.
"""

import contextlib
import ctypes
import dataclasses
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Protocol

SIGN_EVERY = 2.0  # seconds between signs of life
LOST_AFTER = 30.0  # seconds without one after which a process is taken for lost
# The same once a collective has failed here, which by itself says that some process is gone.
LOST_AFTER_FAILURE = 8.0
GRACE = 5.0  # seconds in which this process may come to the same end as another that has stopped
FOLDER = "cfi_jax/processes"  # in the store: /sign/I, /end/I and /left/I of process I


class Store(Protocol):
  """The key-value store that the coordinator, a part of process 0, keeps for all processes."""

  def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
    """Stores a value."""

  def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
    """All entries whose key begins with `key`/."""


@dataclasses.dataclass(frozen=True)
class End:
  """Why a process stopped, and its exit status."""

  status: int
  text: str


@dataclasses.dataclass
class Other:
  """Knowledge of another process; times are seconds of a monotonic clock.

  sign: the last sign of life, "COUNT HOST"; changed: when it was seen to change.
  end, ended: that it has stopped, and when this was seen. left: that it waits for nothing more.
  """

  sign: str = ""
  changed: float = 0.0
  end: End | None = None
  ended: float = 0.0
  left: bool = False

  @property
  def host(self) -> str:
    """Its machine; empty before its first sign of life."""
    return self.sign.partition(" ")[2]


class Others:
  """Knowledge of all other processes, from the entries of the store."""

  def __init__(self, index: int, count: int):
    """Knows nothing yet; `index` is this process, of `count`."""
    self.count = count
    self.known = {i: Other() for i in range(count) if i != index}

  def update(self, entries: Mapping[str, str], now: float) -> None:
    """Takes in what the store holds at the time `now`."""
    for index, other in self.known.items():
      sign = entries.get(f"{FOLDER}/sign/{index}", "")
      if sign != other.sign:
        other.sign, other.changed = sign, now
      end = entries.get(f"{FOLDER}/end/{index}")
      if end and not other.end:
        status, _, text = end.partition(" ")
        other.end, other.ended = End(int(status), text), now
      other.left = f"{FOLDER}/left/{index}" in entries

  def name(self, index: int) -> str:
    """Such as "process 3 of 8 (host node07)"."""
    host = self.known[index].host
    return f"process {index} of {self.count}" + (f" (host {host})" if host else "")

  def lost(self, now: float, patience: float) -> list[int]:
    """The processes that gave a sign of life once, but none for `patience` seconds."""
    known = self.known.items()
    return [i for i, x in known if x.sign and not x.end and now - x.changed > patience]

  def verdict(self, now: float, patience: float, grace: float) -> End | None:
    """Why this process must stop, if it must: processes that are lost or have stopped."""
    for index, other in self.known.items():
      if other.end and now - other.ended >= grace:
        return End(other.end.status, f"{self.name(index)} stopped: {other.end.text}")
    if lost := self.lost(now, patience):
      names = ", ".join(self.name(index) for index in lost)
      silence = min(now - self.known[index].changed for index in lost)
      return End(1, f"lost {names}: no sign of life for {silence:.0f} seconds")
    return None


class Watch:
  """Owns the thread that watches the other processes, and ends this process when it has to.

  again: what the user can do after a loss, for the end of the message.
  """

  def __init__(self, again: str, lost_after: float = LOST_AFTER):
    """Watches nobody until `start`, but has the runtime's aborts end in a plain word.

    While the processes are still looking for each other, and as soon as process 0 is gone, the
    runtime aborts before anything in Python can look. Python's own signal handlers run in the main
    thread, later; this one runs in the thread that aborts.
    """
    self._again, self._patience = again, lost_after
    self._index = 0
    self._looked = 0.0  # when the store last answered
    self._others: Others | None = None
    self._store: Store | None = None
    self._coordinator = ""
    self._stopped = threading.Event()
    self._leaving = threading.Lock()
    self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)  # kept from collection
    ctypes.CDLL(None).signal(signal.SIGABRT, self._on_abort)

  def start(self, store: Store, coordinator: str, index: int, count: int) -> None:
    """Begins to watch, as process `index` of `count`; `coordinator` is the store's HOST:PORT."""
    self._store, self._coordinator = store, coordinator
    self._index, self._others = index, Others(index, count)
    self._looked = time.monotonic()
    threading.Thread(target=self._run, name="cfi_jax watch", daemon=True).start()

  def stop(self) -> None:
    """Ends the watch: from now on processes may leave one after the other."""
    self._stopped.set()
    ctypes.CDLL(None).signal(signal.SIGABRT, None)  # what C calls SIG_DFL

  def suspect(self) -> None:
    """Waits, after something has failed here, until a loss that explains it would be known.

    Does not return if there is one: the process ends with the message that names the lost process.
    """
    self._patience = min(self._patience, LOST_AFTER_FAILURE)
    time.sleep(self._patience + GRACE + 2 * SIGN_EVERY)

  def announce(self, end: End) -> None:
    """Tells the other processes that this one stops."""
    self._set(f"end/{self._index}", f"{end.status} {end.text}")

  def said_by_first(self, text: str) -> bool:
    """Whether process 0 stops for the same reason, and so says it; waits a moment for that."""
    deadline = time.monotonic() + GRACE
    while self._index and time.monotonic() < deadline:
      end = self._others.known[0].end
      if end:
        return end.text == text
      time.sleep(0.1)
    return False

  def leave(self, status: int, line: str = "") -> None:
    """Ends this process now; first prints `line` on stderr, if there is one.

    Not by sys.exit: the main thread may be waiting in a collective, and JAX's own end waits for
    the processes that are gone. Process 0 goes last, as it keeps the store.
    """
    self._leaving.acquire()  # never released: whoever comes second waits for the end
    if line:
      _print(line)
    self._set(f"left/{self._index}", "")
    deadline = time.monotonic() + GRACE + 2 * SIGN_EVERY
    while self._index == 0 and time.monotonic() < deadline and not self._all_left():
      time.sleep(0.1)
    for child in multiprocessing.active_children():  # those that read images ahead
      child.terminate()
    sys.stdout.flush()
    os._exit(status)

  def _all_left(self) -> bool:
    self._look()
    now = time.monotonic()
    lost = self._others.lost(now, self._patience)
    return all(other.left for index, other in self._others.known.items() if index not in lost)

  def _run(self) -> None:
    count, host = 0, socket.gethostname()
    while not self._stopped.is_set():
      count += 1
      self._set(f"sign/{self._index}", f"{count} {host}")
      if self._look():
        end = self._others.verdict(time.monotonic(), self._patience, GRACE)
        if end and not self._stopped.is_set():
          self.leave(end.status, self._message(end.text))
      self._stopped.wait(SIGN_EVERY)

  def _message(self, text: str) -> str:
    return f"process {self._index} of {self._others.count} stops: {text}; {self._again}"

  def _set(self, key: str, value: str) -> None:
    # Where the coordinator does not answer the runtime aborts this process: see `_aborted`.
    with contextlib.suppress(Exception):
      self._store.key_value_set(f"{FOLDER}/{key}", value, allow_overwrite=True)

  def _look(self) -> bool:
    """Whether the store answered; only then silence means something."""
    try:
      entries = dict(self._store.key_value_dir_get(FOLDER))
    except Exception:  # as in `_set`
      return False
    self._others.update(entries, time.monotonic())
    self._looked = time.monotonic()
    return True

  def _aborted(self, signum: int) -> None:
    """Says why the runtime aborts this process, as far as it can be known."""
    del signum
    _print(self._message_of_abort())
    os._exit(1)

  def _message_of_abort(self) -> str:
    if not self._others:
      return "error: the processes did not find each other, see above"
    now = time.monotonic()
    end = self._others.verdict(now, math.inf, grace=0)
    silent = now - self._looked > LOST_AFTER_FAILURE
    if not end and self._index and (silent or not _answers(self._coordinator)):
      end = End(1, f"lost {self._others.name(0)}: {self._coordinator} does not answer any more")
    if not end:
      end = self._others.verdict(now, min(self._patience, LOST_AFTER_FAILURE), grace=0)
    return self._message(end.text if end else "the JAX runtime aborted it, see above")


def _print(line: str) -> None:
  """A line on stderr, after a progress bar; in one piece, as other processes write there too."""
  sys.stderr.write(("\n" if sys.stderr.isatty() else "") + line + "\n")
  sys.stderr.flush()


def _answers(address: str, seconds: float = 2.0) -> bool:
  """Whether something listens at HOST:PORT."""
  host, _, port = address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
  except OSError:
    return False
  return True
