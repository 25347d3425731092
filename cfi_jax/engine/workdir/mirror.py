"""A workdir in a bucket: a run works in a folder of its machine, of which the bucket gets all.

Orbax writes no checkpoints to s3:// (TensorStore's driver is for gs:// alone there), and what has
its name by renaming has it after many requests in a bucket. So a checkpoint is written on the
machine, whole, and then its objects; the last of them, `COMMIT`, says that all are there. Without
it they are no checkpoint, and the next start removes them. Orbax knows them on gs:// as its own.
Metrics grow by parts, which the reader joins; other files are written again when they
have grown. The bucket is what counts: a start takes all from there.
"""

import contextlib
import hashlib
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import jax

from cfi_jax.core import files, storage
from cfi_jax.core.storage import BucketPath, listing
from cfi_jax.core.types import StorageError
from cfi_jax.engine.workdir import record

COMMIT = "commit_success.txt"  # the name that Orbax gives it
EVERY = 5.0  # seconds from a look to the next
PART = 2**18  # bytes of a part of a growing file
GROWS = 2**20  # bytes a second at most for a file that is written again as a whole
PARTED = "metrics.jsonl"
_AT_ONCE = 16  # requests


def read_parts(path: pathlib.Path) -> bytes | None:
  """The content of a file that grows, None without one; in a bucket its parts are joined."""
  if not isinstance(path, BucketPath):
    return path.read_bytes() if path.exists() else None
  parts = [p for p in path.parent.iterdir() if _number(p.name, path.name) is not None]
  parts.sort(key=lambda part: cast(int, _number(part.name, path.name)))
  return b"".join(part.read_bytes() for part in parts) if parts else None


def _number(name: str, of: str) -> int | None:
  """The number of a part of a file, None for other files."""
  stem, _, number = name.rpartition(".part")
  return int(number) if stem == of and number.isdigit() else None


def committed(workdir: BucketPath) -> dict[int, BucketPath]:
  """The folders of whole checkpoints in a bucket, by their step."""
  return {
    int(folder.name): folder
    for folder in _folders(workdir / record.CHECKPOINTS)
    if folder.name.isdecimal() and listing.entry(str(folder / COMMIT)) is not None
  }


def _folders(place: BucketPath) -> list[BucketPath]:
  """The folders in a folder, listed anew."""
  listing.forget(str(place))
  found = (cast(BucketPath, storage.path(e.path)) for e in _entries(place) if e.is_dir())
  return list(found)


def _entries(place: BucketPath) -> list[Any]:
  try:
    return storage.entries(str(place))
  except FileNotFoundError:
    return []


def fetch(workdir: BucketPath, to: pathlib.Path) -> pathlib.Path:
  """Copies the whole checkpoints of a bucket into a folder as Orbax has them there; returns it."""
  (to / record.CHECKPOINTS).mkdir(parents=True, exist_ok=True)
  jobs: list[tuple[BucketPath, pathlib.Path]] = []
  times: dict[pathlib.Path, float] = {}
  for step, folder in committed(workdir).items():
    here = to / record.CHECKPOINTS / str(step)
    times[here] = cast(Any, listing.entry(str(folder / COMMIT))).stat().st_mtime
    for found in storage.files_below(cast(pathlib.Path, folder)):
      jobs.append((cast(BucketPath, found), here / cast(BucketPath, found).relative_to(folder)))

  def copy(job: tuple[BucketPath, pathlib.Path]) -> None:
    source, target = job
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())

  _each(copy, jobs)
  for here, changed in times.items():
    os.utime(here, (changed, changed))
  return to


def fetched(workdir: pathlib.Path) -> pathlib.Path:
  """A folder with the checkpoints of a workdir to read: itself, or a copy of those in a bucket."""
  if not isinstance(workdir, BucketPath):
    return workdir
  return fetch(workdir, storage.temporary())


def saved_at(workdir: pathlib.Path, step: int) -> float:
  """The time at which a checkpoint was whole, in seconds since 1970."""
  folder = workdir / record.CHECKPOINTS / str(step)
  return (folder / COMMIT if isinstance(folder, BucketPath) else folder).stat().st_mtime


class Mirror:
  """Owns the folder in which a run works; a context manager.

  folder: the workdir itself where that is on a file system, which then is all that this does.
  """

  def __init__(self, workdir: pathlib.Path, require: Callable[[], None]):
    """Fetches what the run left in the bucket; what no checkpoint was made of is removed there.

    require: raises where the workdir is another process's by now; called before writing.
    """
    self._require_own = require
    self._remote = workdir if isinstance(workdir, BucketPath) else None
    self.folder = workdir
    self._error: Exception | None = None
    self._left = threading.Event()
    self._busy = threading.Lock()
    self._thread: threading.Thread | None = None
    self._known: dict[pathlib.Path, tuple[tuple[int, int], float]] = {}
    self._parts: list[str] = []
    self._steps: set[int] = set()
    if self._remote is None:
      return
    self._own = tempfile.TemporaryDirectory(prefix="cfi_jax-workdir-")
    self.folder = fetch(self._remote, storage.path(self._own.name).resolve())
    if jax.process_index() == 0:
      self._steps = set(committed(self._remote))
      for folder in _folders(self._remote / record.CHECKPOINTS):
        if not folder.name.isdecimal() or int(folder.name) not in self._steps:
          _remove(folder)
      content = read_parts(cast(pathlib.Path, self._remote / PARTED))
      if content is not None:
        (self.folder / PARTED).write_bytes(content)
        self._parts = [_hash(part) for part in _cut(content)]

  @property
  def is_copy(self) -> bool:
    """Whether the folder is another than the workdir, of each process its own."""
    return self._remote is not None

  def __enter__(self) -> "Mirror":
    """Begins to keep the bucket up to date; process 0 does."""
    if self._remote is not None and jax.process_index() == 0:
      self._thread = threading.Thread(target=self._keep, name="cfi_jax mirror", daemon=True)
      self._thread.start()
    return self

  def __exit__(self, *exception: Any) -> None:
    """Writes what is not in the bucket yet; raises StorageError where that fails."""
    self._left.set()
    if self._thread is not None:
      self._thread.join()
      try:
        self.sync(last=True)
      except Exception:
        if exception[0] is None:
          raise
    if self._remote is not None:
      self._own.cleanup()

  def require(self) -> None:
    """Raises StorageError where the bucket takes nothing more."""
    if self._error is not None:
      raise self._error

  def sync(self, last: bool = False) -> None:
    """Brings the bucket up to date: logs, then checkpoints, then what was removed.

    last: files that grow fast are written, too.
    """
    if self._remote is None:
      return
    try:
      with self._busy:
        self._sync(self._remote, last)
    except OSError as error:
      raise files.accident(error) or StorageError(f"{self._remote}: {error.strerror}") from error

  def _keep(self) -> None:
    while not self._left.wait(EVERY):
      try:
        self.sync()
      except Exception as error:  # raised by `require`, in the loop
        self._error = error
        return

  def _sync(self, remote: BucketPath, last: bool) -> None:
    checkpoints = self.folder / record.CHECKPOINTS
    self._require_own()
    # Looked at first: the rows of a checkpoint were written before it.
    steps = {int(p.name): p for p in checkpoints.iterdir() if p.name.isdecimal()}
    self._sync_metrics(remote)
    for path in sorted(self.folder.rglob("*")):
      if path.is_file() and checkpoints not in path.parents and path.name != PARTED:
        self._sync_file(path, remote, last)
    for step in sorted(set(steps) - self._steps):
      to = remote / record.CHECKPOINTS / str(step)
      *others, whole = _with_last(steps[step], COMMIT)
      _each(lambda path: (to / path.relative_to(steps[step])).upload(path), others)  # noqa: B023
      (to / COMMIT).upload(whole)
      self._steps.add(step)
    for step in self._steps - set(steps):
      _remove(remote / record.CHECKPOINTS / str(step))
    self._steps &= set(steps)

  def _sync_metrics(self, remote: BucketPath) -> None:
    content = (self.folder / PARTED).read_bytes() if (self.folder / PARTED).exists() else b""
    parts = list(_cut(content))
    hashes = [_hash(part) for part in parts]
    for number, part in enumerate(parts):
      if hashes[number : number + 1] != self._parts[number : number + 1]:
        (remote / f"{PARTED}.part{number:06d}").write_bytes(part)
    for number in range(len(parts), len(self._parts)):
      (remote / f"{PARTED}.part{number:06d}").unlink(missing_ok=True)
    self._parts = hashes

  def _sync_file(self, path: pathlib.Path, remote: BucketPath, last: bool) -> None:
    try:
      state = path.stat()
    except FileNotFoundError:  # a temporary file that has its name by now
      return
    if path.name.startswith("."):
      return
    now = (state.st_mtime_ns, state.st_size)
    if path in self._known:
      before, when = self._known[path]
      early = time.monotonic() - when <= state.st_size / GROWS
      if now == before or (early and not last):
        return
    # As it is now: what grows while it is sent is not of the size that was announced.
    (remote / path.relative_to(self.folder)).write_bytes(path.read_bytes())
    self._known[path] = now, time.monotonic()


def _with_last(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  """The files of a folder and those below it, of which one comes last."""
  return [*(p for p in folder.rglob("*") if p.is_file() and p != folder / name), folder / name]


def _cut(content: bytes) -> Iterator[bytes]:
  """Parts of a file that grows; all but the last stay as they are."""
  for start in range(0, len(content), PART):
    yield content[start : start + PART]


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def _remove(folder: BucketPath) -> None:
  """Removes a checkpoint from a bucket; first the object without which it is none."""
  (folder / COMMIT).unlink(missing_ok=True)  # and what was listed is looked at anew
  with contextlib.suppress(FileNotFoundError):
    _each(lambda path: path.unlink(missing_ok=True), list(storage.files_below(cast(Any, folder))))


def _each(function: Callable[[Any], Any], items: list[Any]) -> None:
  """Applies a function to all items, many at once; raises the first error."""
  with ThreadPoolExecutor(_AT_ONCE) as pool:
    list(pool.map(function, items))
