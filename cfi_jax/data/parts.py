"""Parts of a summary: what each shard of a piece of work found, and the one summary of all parts.

A part is the folder OUTPUT/parts/I-of-N: request.json, files of records (JSON, one a line) and,
once all is done, done.json. Every file is written whole, so that all this works where files cannot
be appended to, and a process that is killed loses the records since its last file.
"""

import heapq
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import shorten
from cfi_jax.data.shards import FLAGS, Shard

FOLDER = "parts"
REQUEST, DONE = "request.json", "done.json"
CHUNK = 256  # records of a file, unless it is flushed before
# Flags that may differ between the parts of one summary.
FREE = (*FLAGS, "skip_existing", "memory_mb", "coordinator", "processes", "process", "output")

Record = Mapping[str, Any]  # JSON, with a "name" and a "failure", "" where there was none


def request_of(given: Mapping[str, Any]) -> dict[str, str]:
  """The flags that all parts of a summary have alike, as text."""
  return {name: str(value) for name, value in given.items() if name not in FREE}


class Part:
  """Owns the part of one shard while it is made."""

  def __init__(self, output: pathlib.Path, shard: Shard, request: Mapping[str, str], keep: bool):
    """Begins it; keep: goes on with the records of an earlier start, if it had the same request.

    What failed then is not kept. names: of the records that are.
    Raises InputError where the request is another one, or the folder cannot be written.
    """
    self._folder = output / FOLDER / str(shard)
    require_folder(self._folder)
    self._waiting: list[Record] = []
    self._last, self._ascending = "", True
    self.names: set[str] = set()
    before = _read(self._folder / REQUEST)
    if keep and before is not None:
      require_alike({str(shard): before, "this command": dict(request)})
      for path in _files(self._folder):
        records = list(_records([path]))
        whole = [record for record in records if not record["failure"]]
        if len(whole) < len(records):
          write_atomically(path, _to_lines(whole))
        for record in whole:
          self._see(record)
          self.names.add(record["name"])
    else:
      for path in _files(self._folder):
        path.unlink()
    (self._folder / DONE).unlink(missing_ok=True)
    self._number = len(_files(self._folder))
    write_atomically(self._folder / REQUEST, json.dumps(dict(request)).encode())

  def add(self, record: Record) -> None:
    """Takes a record."""
    self._waiting.append(record)
    if len(self._waiting) >= CHUNK:
      self.flush()

  def flush(self) -> None:
    """Writes the records that wait, in the order of their names."""
    if not self._waiting:
      return
    self._waiting.sort(key=lambda record: record["name"])
    for record in self._waiting:
      self._see(record)
    write_atomically(self._folder / f"{self._number:07d}.jsonl", _to_lines(self._waiting))
    self._number += 1
    self._waiting.clear()

  def finish(self, notes: Mapping[str, Any]) -> None:
    """Writes what waits, and that the part is whole; notes: JSON about all of it."""
    self.flush()
    done = {"files": self._number, "ascending": self._ascending, "notes": notes}
    write_atomically(self._folder / DONE, json.dumps(done).encode())

  def _see(self, record: Record) -> None:
    self._ascending &= self._last <= record["name"]
    self._last = record["name"]


class Parts:
  """All parts of a summary, whole and of one request.

  count: their number. request: theirs. notes: of each, in order.
  """

  def __init__(
    self, output: pathlib.Path, count: int | None, request: Mapping[str, str] | None = None
  ):
    """Finds them; count: their number, by default the one that the folder tells.

    request: the one that they must be of. Raises InputError where a part is missing or not whole,
    naming it, where parts are of different requests, and for a folder without parts.
    """
    self._folder = output / FOLDER
    self.count = _count(self._folder) if count is None else count
    shards = [Shard(index, self.count) for index in range(self.count)]
    found = {str(shard): _read(self._folder / str(shard) / DONE) or {} for shard in shards}
    if missing := [name for name, done in found.items() if not done]:
      raise InputError(
        f"{self._folder}: {len(missing)} of {self.count} parts are missing or not finished: "
        f"{shorten(missing)}; do these again, with the flags of the others"
      )
    requests = {name: _read(self._folder / name / REQUEST) or {} for name in found}
    require_alike(({} if request is None else {"this command": dict(request)}) | requests)
    self.request = next(iter(requests.values()))
    self.notes = [done["notes"] for done in found.values()]
    self._done = found

  def records(self) -> Iterator[dict[str, Any]]:
    """All records in the order of their names; one file of each part is held at a time."""
    parts = [self._of_part(name, done) for name, done in self._done.items()]
    return heapq.merge(*parts, key=lambda record: record["name"])

  def _of_part(self, name: str, done: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    files = _files(self._folder / name)
    if len(files) != done["files"]:
      raise InputError(f"{self._folder / name}: {len(files)} files of records, not {done['files']}")
    records = _records(files)
    return records if done["ascending"] else sorted(records, key=lambda record: record["name"])


def require_alike(requests: Mapping[str, Mapping[str, str]]) -> None:
  """Raises InputError where requests, by whose they are, differ; names the first difference."""
  (first, wanted), *others = requests.items()
  for name, request in others:
    for flag in sorted({*wanted, *request}):
      ours, theirs = wanted.get(flag), request.get(flag)
      if ours != theirs:
        raise InputError(
          f"parts are of different requests: --{flag}={ours} of {first}, --{flag}={theirs} of "
          f"{name}; make them anew, without --skip_existing, or choose another --output"
        )


def _count(folder: pathlib.Path) -> int:
  """The number of parts that the names of a folder's parts say."""
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  counts = sorted(
    {int(match[1]) for name in names if (match := re.fullmatch(r"\d+-of-(\d+)", name))}
  )
  if not counts:
    raise InputError(f"{folder}: holds no parts; processes with --process_count write them")
  if len(counts) > 1:
    found = ", ".join(map(str, counts))
    raise InputError(f"{folder}: holds parts of {found}; --process_count says which to join")
  return counts[0]


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  """The files of records of a part, in order."""
  paths = folder.iterdir() if folder.is_dir() else ()
  return sorted(path for path in paths if path.suffix == ".jsonl")


def _to_lines(records: Iterable[Record]) -> bytes:
  return "".join(json.dumps(record) + "\n" for record in records).encode()


def _records(files: Iterable[pathlib.Path]) -> Iterator[dict[str, Any]]:
  for path in files:
    for line in path.read_bytes().splitlines():
      try:
        yield json.loads(line)
      except ValueError as error:
        raise InputError(f"{path}: damaged; do this part again without --skip_existing") from error


def _read(path: pathlib.Path) -> dict[str, Any] | None:
  """The JSON of a file; None where there is none, or a damaged one."""
  try:
    found = json.loads(path.read_bytes())
  except (OSError, ValueError):
    return None
  return found if isinstance(found, dict) else None
