"""One process writes a workdir: a lock that names its holder and does not outlive it.

The lock is a file that the file system creates for one process only, so that no flock is needed; in
a bucket an object that is written on the condition that there is none.
Its holder renews it every few seconds. A holder on this machine is looked up among the processes;
one on another is taken for dead once its lock has not been renewed for a while. Several processes
of one run have one lock, which process 0 takes.
"""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from typing import Any

from cfi_jax.core import files, storage
from cfi_jax.core.types import InputError

FILE = "run.lock"
RENEW_EVERY = 5.0  # seconds
SILENT_AFTER = 30.0  # seconds without renewal after which a holder elsewhere is taken for dead


class Lock:
  """Owns the lock of a workdir from `acquire` to the end of the context."""

  def __init__(self, workdir: pathlib.Path):
    """Takes nothing yet."""
    self._path = workdir / FILE
    self._token = uuid.uuid4().hex
    self._thread: threading.Thread | None = None
    self._held = threading.Event()
    self._left = threading.Event()
    self._lost = threading.Event()

  def __enter__(self) -> "Lock":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Gives the lock back, if it is still this one."""
    self._left.set()
    if self._thread is not None:  # which would write the object again
      self._thread.join()
    if self._held.is_set():
      if _read(self._path).get("token") == self._token:
        self._path.unlink(missing_ok=True)
      if isinstance(self._path, storage.BucketPath):
        _sign(self._path, self._token).unlink(missing_ok=True)

  def acquire(self) -> None:
    """Takes the lock, over from a dead process if need be; makes the workdir.

    Raises `InputError` naming host, process and time of a holder that lives.
    """
    content = json.dumps(_self() | {"token": self._token}).encode()
    try:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      while not files.create(self._path, content):
        check(self._path.parent)
    except OSError as error:
      raise InputError(f"{self._path}: cannot be written: {error.strerror or error}") from error
    self._held.set()
    self._thread = threading.Thread(target=self._renew, name="cfi_jax lock", daemon=True)
    self._thread.start()

  def require(self) -> None:
    """Raises `InputError` where another process took the lock over, as after a long suspension."""
    if self._lost.is_set():
      raise InputError(f"{self._path.parent} was taken over by {_describe(_read(self._path))}")

  def _renew(self) -> None:
    while not self._left.wait(RENEW_EVERY):
      with contextlib.suppress(OSError):  # a file system that is away for a moment
        if _read(self._path).get("token") != self._token:
          self._lost.set()
          return
        if isinstance(self._path, storage.BucketPath):
          _sign(self._path, self._token).write_bytes(b"")
        else:
          os.utime(self._path)


def check(workdir: pathlib.Path) -> None:
  """Refuses a workdir whose lock a living process holds; removes the lock of a dead one.

  Waits up to `SILENT_AFTER` seconds for a sign of life of a holder on another machine.
  """
  path = workdir / FILE
  holder = _read(path)
  if not holder:
    return
  who = _describe(holder)
  if _lives(path, holder, who):
    raise InputError(
      f"{workdir} is being written by {who}; wait for its end, stop it, or choose another --workdir"
    )
  print(f"{workdir}: taken over from {who}, which is no more", flush=True)
  _remove(path, holder)


def _describe(holder: dict[str, Any]) -> str:
  return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


def _self() -> dict[str, Any]:
  """This process, such that no other one now or later is the same."""
  return {
    "host": socket.gethostname(),
    "pid": os.getpid(),
    "since": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    "machine": _machine(),
    "started": _started(os.getpid()),
  }


def _machine() -> str:
  """Identity of a running system and its table of processes, which containers have of their own."""
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):
    parts.append(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    parts.append(os.readlink("/proc/self/ns/pid"))
  return " ".join(parts)


def _started(pid: int) -> str | None:
  """Start of a process in ticks since boot; "" where the system does not tell, None if it ended."""
  if not pathlib.Path("/proc/self/stat").exists():
    try:
      os.kill(pid, 0)
    except ProcessLookupError:
      return None
    except PermissionError:
      pass
    return ""
  try:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  except OSError:
    return None
  return None if fields[0] in "ZX" else fields[19]


def _lives(path: pathlib.Path, holder: dict[str, Any], who: str) -> bool:
  """Whether the holder of a lock is a process that still runs."""
  if holder.get("machine") == _machine() and isinstance(holder.get("pid"), int):
    return _started(holder["pid"]) == holder.get("started")
  first, deadline = _renewed(path), time.monotonic() + SILENT_AFTER
  print(f"{path}: held by {who}; waiting for a sign of life", flush=True)
  while time.monotonic() < deadline:
    time.sleep(RENEW_EVERY / 5)
    if _renewed(path) != first:  # None, too: given back; the next look finds nothing
      return _renewed(path) is not None
  return False


def _sign(path: pathlib.Path, token: str) -> pathlib.Path:
  """The object that a holder writes again and again.

  It does not write the lock itself, in which it could replace that of another in the moment between
  looking and writing.
  """
  return path.with_name(f"{path.name}.{token}")


def _renewed(path: pathlib.Path) -> int | None:
  """Time of the last renewal by the file system's clock, only ever compared with itself."""
  try:
    if isinstance(path, storage.BucketPath):
      sign = _sign(path, str(_read(path).get("token")))
      return (sign if sign.exists() else path).stat().st_mtime_ns
    return path.stat().st_mtime_ns
  except FileNotFoundError:
    return None


def _remove(path: pathlib.Path, holder: dict[str, Any]) -> None:
  """Removes the lock of a dead holder, unless another process has taken it over meanwhile.

  Buckets have no renaming: there the lock is looked at once more, and a holder whose lock is
  removed in the moment between sees that when it renews it, and stops.
  """
  if isinstance(path, storage.BucketPath):
    if _read(path).get("token") == holder.get("token"):
      path.unlink(missing_ok=True)
      _sign(path, str(holder.get("token"))).unlink(missing_ok=True)
    return
  aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
  try:
    os.rename(path, aside)  # one of several processes succeeds
  except FileNotFoundError:
    return
  if _read(aside).get("token") != holder.get("token"):  # a new holder's lock: given back
    with contextlib.suppress(OSError):  # never over a third one's; the new holder then notices
      os.link(aside, path)
  aside.unlink()


def _read(path: pathlib.Path) -> dict[str, Any]:
  """The holder that a lock names; {} without a lock."""
  unknown = {"pid": "unknown", "host": "unknown", "since": "unknown"}
  for _ in range(20):
    try:
      found = json.loads(path.read_text())
    except FileNotFoundError:
      return {}
    except ValueError:  # its first bytes may be on the way
      time.sleep(0.1)
    else:
      return found if isinstance(found, dict) and found else unknown
  return unknown
