"""Shards of a folder's names: which of several processes, without a word between them, does which.

A name belongs to the process that a number of it alone says (`names.name_number`). So a shard that
is done again is the same one, even where files came or went meanwhile, and a process keeps only its
own names while it lists. By position in the sorted names one new file would move all behind it.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cfi_jax.core import cli
from cfi_jax.core.names import name_number
from cfi_jax.core.types import InputError

ARRAYS = ("slurm", "kubernetes")
STRETCH = 4096  # names whose work is planned, and held, at once
FLAGS = {
  "process_index": cli.Flag("of several processes that share a folder, from 0", kind=int),
  "process_count": cli.Flag("number of processes that share a folder", kind=int),
  "array": cli.Flag(
    "take --process_index from the job array or indexed Job that this is a task of",
    "",
    valid=ARRAYS,
  ),
  "join": cli.Flag("make one summary of the parts that such processes wrote to --output", False),
}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Shard:
  """One of `count` shards of all names; index: from 0."""

  index: int = 0
  count: int = 1

  def holds(self, name: str) -> bool:
    """Whether a name is one of this shard's."""
    return self.count == 1 or name_number(name) % self.count == self.index

  def __str__(self) -> str:
    """Its name in messages and of its folder: "3-of-8"."""
    return f"{self.index}-of-{self.count}"


ALL = Shard()


def from_flags(
  given: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Shard | None:
  """The shard that `FLAGS` name; None where they name none.

  An array is read from `environment` only where --array says so, as an array may be of folders
  instead. Slurm's tells its number of tasks, unless some are done again: --process_count does then.
  """
  index, count, array = (given[name] for name in ("process_index", "process_count", "array"))
  if given["join"]:
    if index is not None or array:
      one = f"--array={array}" if array else f"--process_index={index}"
      raise InputError(f"{one} with --join, which one process does when all others are done")
    return None
  if array:
    if index is not None:
      raise InputError(f"--process_index={index} with --array={array}, which says the index")
    return _from_array(array, count, environment)
  if index is None and count is None:
    return None
  if index is None or count is None or not 0 <= index < count:
    raise InputError(
      f"--process_index={index} --process_count={count}; both are needed, 0 <= index < count"
    )
  return Shard(index, count)


def _from_array(array: str, count: int | None, environment: Mapping[str, str]) -> Shard:
  """The shard of a task of an array, as its scheduler's variables say."""
  variable = {"slurm": "SLURM_ARRAY_TASK_ID", "kubernetes": "JOB_COMPLETION_INDEX"}[array]
  text = environment.get(variable, "")
  if not text.isdecimal():
    raise InputError(f"--array={array}: ${variable} is {text!r}; it is set in tasks of an array")
  if count is None and array == "slurm":
    tasks, last = (environment.get(f"SLURM_ARRAY_TASK_{n}", "") for n in ("COUNT", "MAX"))
    if not tasks.isdecimal() or last != str(int(tasks) - 1):
      raise InputError(
        f"--array=slurm: {tasks or 'no'} tasks up to number {last or '?'} are no array 0-N; give "
        "--process_count=N, the number of all tasks"
      )
    count = int(tasks)
  if count is None:
    raise InputError(f"--array={array} needs --process_count=N, the number of all its tasks")
  if int(text) >= count:
    raise InputError(f"--array={array}: ${variable} is {text}; allowed: 0 to {count - 1}")
  return Shard(int(text), count)


def stretches(items: Sequence[T], size: int = STRETCH) -> Iterator[Sequence[T]]:
  """Yields the items in lists of `size`."""
  for first in range(0, len(items), size):
    yield items[first : first + size]


class Made(Sequence[T]):
  """A sequence whose items are made when they are asked for: a million of them weigh nothing."""

  def __init__(self, keys: Sequence[Any], make: Any):
    """make: key -> item."""
    self._keys, self._make = keys, make

  def __len__(self) -> int:
    """The number of keys."""
    return len(self._keys)

  def __getitem__(self, index: Any) -> Any:
    """The item, or for a slice a list of items."""
    if isinstance(index, slice):
      return [self._make(key) for key in self._keys[index]]
    return self._make(self._keys[index])
