"""The grid of a study: rows x seeds, of which a workdir gets what it lacks.

workdir/runs/ROW-SEED holds a run; what it leaves when it is finished is the file `Grid.product`.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.engine.config import Config
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.study import models

RUNS = "runs"

Run = tuple[str, int]  # row and seed


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

  def claim(self, records: Mapping[str, record.Identity]) -> None:
    """Makes the workdir the study's own; refuses runs that cannot be, and one of another study.

    records: by folder of the workdir, what must stay. Nothing is written where anything is refused.
    """
    for folder, identity in records.items():
      for line in record.check(self.workdir / folder, identity):
        print(line, flush=True)
    for run in self.study.runs:
      self.steps[run] = models.count_steps(self.study.config(*run), self.folder(*run))
    self.lock.acquire()
    for folder, identity in records.items():
      record.check(self.workdir / folder, identity)  # another study may have come and gone
      record.write(self.workdir / folder, identity)

  def complete(
    self,
    finish: Callable[[pathlib.Path, dict, models.Card], None],
    report: Callable[[list[Run]], None],
    *,
    whole_seeds: bool = False,
  ) -> bool:
    """Trains and measures what is missing, and tabulates first and after every run.

    finish: f(file, variables, card) writes what a trained run leaves. report: f(finished runs)
      writes the tables. whole_seeds: tables are of seeds that all rows are finished of, written
      when there is another one.
    Returns whether all is done; not, after SIGTERM.
    """

    def tabulate(latest: Run | None = None) -> None:
      done = [run for run in self.study.runs if self.file(*run).exists()]
      if whole_seeds:
        rows = self.study.order
        done = [run for run in done if all(self.file(row, run[1]).exists() for row in rows)]
      if latest is None or latest in done:
        report(done)

    tabulate()
    for run in self.study.runs:
      if self.file(*run).exists():
        continue
      print(f"{run[0]}-{run[1]}:", flush=True)
      trained = models.train(self.study.config(*run), self.folder(*run), self.steps[run])
      if trained is None:
        return False
      finish(self.file(*run), *trained)
      tabulate(run)
    return True
