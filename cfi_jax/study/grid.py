"""The grid of a study: cells, such as rows x seeds, of which a workdir gets what it lacks.

Of a study that trains workdir/runs/ROW-SEED holds a run; what it leaves when it is finished is the
file `Grid.product`.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import ClassVar, TypeVar

from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.study import models

RUNS = "runs"

Run = tuple[str, int]  # row and seed
Cell = TypeVar("Cell", bound=Hashable)  # of a study: what it makes at once and keeps in files


@dataclasses.dataclass(frozen=True)
class Rows(abc.ABC):
  """The runs of a study; a kind of study adds what they consist of and what is measured.

  order: names of the rows to run, in this order. seeds: of every row. They are the outer loop, so
    that a study that is stopped early is a complete smaller one.

  FEWEST: rows that a study of this kind needs.
  """

  FEWEST: ClassVar[int] = 1

  order: tuple[str, ...]
  seeds: tuple[int, ...]

  @abc.abstractmethod
  def config(self, row: str, seed: int) -> Config:
    """The training config of a run."""

  @property
  def runs(self) -> list[Run]:
    """All runs, in the order of training."""
    return [(row, seed) for seed in self.seeds for row in self.order]

  def check_rows(self, valid: Collection[str]) -> None:
    """Refuses unknown rows, doubles, and runs that cannot be."""
    check_names("order", self.order, valid, self.FEWEST)
    check_names("seeds", self.seeds, self.seeds)
    for row, seed in self.runs:
      self.config(row, seed)


def check_names(field: str, chosen: Sequence, valid: Collection, fewest: int = 1) -> None:
  """Refuses config.`field` where it names too few, something unknown, or something twice."""
  for name in chosen:
    if name not in valid:
      raise InputError(f"config.{field}: there is no {name!r}; valid: {', '.join(valid)}")
  if len(chosen) < fewest or len(set(chosen)) < len(chosen):
    count = "one or more" if fewest else "any"
    raise InputError(f"config.{field} is {chosen}; allowed: {count}, each once")


def complete(
  cells: Sequence[Cell],
  is_done: Callable[[Cell], bool],
  make: Callable[[Cell], bool],
  report: Callable[[list[Cell]], None],
  *,
  group: Callable[[Cell], Hashable] | None = None,
) -> bool:
  """Makes the cells of a study that are not done, in order, and tabulates first and after each.

  make: f(cell) -> whether it is done now; not, after SIGTERM. report: f(cells that are done) writes
  the tables. group: f(cell) -> its group; then tables are of groups that are whole, written when
  there is another one.
  Returns whether all is done.
  """

  def tabulate(latest: Cell | None = None) -> None:
    done = [cell for cell in cells if is_done(cell)]
    if group is not None:
      partial = {group(cell) for cell in cells if cell not in done}
      done = [cell for cell in done if group(cell) not in partial]
    if latest is None or latest in done:
      report(done)

  tabulate()
  for cell in cells:
    if is_done(cell):
      continue
    if not make(cell):
      return False
    tabulate(cell)
  return True


Records = Mapping[str, record.Identity]  # by folder of the workdir, what must stay


def check(workdir: pathlib.Path, records: Records) -> None:
  """Refuses a workdir of another study; writes nothing."""
  for folder, identity in records.items():
    for line in record.check(workdir / folder, identity):
      print(line, flush=True)


def take(workdir: pathlib.Path, lock: Lock, records: Records) -> None:
  """Makes the workdir the study's own; refuses another study's, and then writes nothing."""
  lock.acquire()
  for folder, identity in records.items():
    record.check(workdir / folder, identity)  # another study may have come and gone
    record.write(workdir / folder, identity)


@dataclasses.dataclass(frozen=True)
class Grid:
  """The runs of a study in its workdir.

  product: path in the workdir of what a finished run leaves, {} for ROW-SEED.
  lock: of the workdir. steps: of every run; known once the workdir is claimed.
  """

  study: Rows
  workdir: pathlib.Path
  product: str
  lock: Lock
  steps: dict[Run, int] = dataclasses.field(default_factory=dict)

  def folder(self, row: str, seed: int) -> pathlib.Path:
    """The workdir of a run."""
    return self.workdir / RUNS / f"{row}-{seed}"

  def file(self, row: str, seed: int) -> pathlib.Path:
    """The file that a finished run leaves."""
    return self.workdir / self.product.format(f"{row}-{seed}")

  def require_records(self) -> None:
    """Refuses a file of a run of which nothing says how it was trained."""
    for run in self.study.runs:
      if self.file(*run).exists() and record.read(self.folder(*run)) is None:
        raise InputError(
          f"{self.file(*run)} is there, and {self.folder(*run) / record.FILE} is not, which says "
          "how it was trained; remove the file, or choose another --workdir"
        )

  def claim(self, records: Records) -> None:
    """Makes the workdir the study's own; refuses runs that cannot be, and one of another study.

    Nothing is written where anything is refused.
    """
    check(self.workdir, records)
    for run in self.study.runs:
      self.steps[run] = models.count_steps(self.study.config(*run), self.folder(*run))
    take(self.workdir, self.lock, records)

  def complete(
    self,
    finish: Callable[[Run], None],
    report: Callable[[list[Run]], None],
    *,
    whole_seeds: bool = False,
  ) -> bool:
    """Trains and measures what is missing, and tabulates, see `complete`.

    finish: f(run) writes what a run that is trained leaves. whole_seeds: tables are of seeds that
    all rows are finished of. Returns whether all is done; not, after SIGTERM.
    """

    def make(run: Run) -> bool:
      print(f"{run[0]}-{run[1]}:", flush=True)
      if not models.train(self.study.config(*run), self.folder(*run), self.steps[run]):
        return False
      finish(run)
      return True

    seed = (lambda run: run[1]) if whole_seeds else None
    return complete(self.study.runs, lambda run: self.file(*run).exists(), make, report, group=seed)
