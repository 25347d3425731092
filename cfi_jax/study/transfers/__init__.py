"""Pose transfer beside trivial transfers: scores of people whose answers are known, and bars."""

import dataclasses
import json
import math
import pathlib

import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.transfers import TRAIN
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.report.crossed import Tally
from cfi_jax.report.findings import to_csv
from cfi_jax.study import grid, models
from cfi_jax.study.transfers import report
from cfi_jax.study.transfers.settings import Cell, Protocol, Study
from cfi_jax.systems import files
from cfi_jax.systems.dfcnet import judges, trials
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.dfcnet.scores import DIRECTIONS

SCORES, PICTURES = "scores", "pictures"  # folders of the workdir


@dataclasses.dataclass(frozen=True)
class Workdir:
  """The scores of a study in its workdir; digests: SHA-256 by weights."""

  study: Study
  folder: pathlib.Path
  digests: dict[str, str]

  def file(self, cell: Cell) -> pathlib.Path:
    """The file of the scores of a cell."""
    key = self.digests[cell.weights][:16] if cell.weights else cell.method.replace(" ", "-")
    return self.folder / SCORES / cell.split / f"{key}.json"

  def write(self, cell: Cell, names: tuple[str, ...], scores: dict[str, np.ndarray]) -> None:
    """Keeps the scores [transfers] of a cell by their names."""
    plain = {n: [float(x) if math.isfinite(x) else None for x in v] for n, v in scores.items()}
    content = json.dumps({"names": names, "scores": plain}) + "\n"
    write_atomically(self.file(cell), content.encode())

  def tallies(self, split: str) -> dict[str, dict[str, Tally]]:
    """Tallies [seeds, transfers] of a split by method and score; refuses damaged files."""
    found: dict[str, dict[str, list]] = {}
    for cell in self.study.cells(split):
      path = self.file(cell)
      try:
        scores = json.loads(path.read_bytes())["scores"]
        rows = {n: [math.nan if x is None else float(x) for x in scores[n]] for n in DIRECTIONS}
      except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it to score again") from error
      for name, row in rows.items():
        found.setdefault(cell.method, {}).setdefault(name, []).append(row)
    return {
      method: {name: Tally.of(np.array(rows)) for name, rows in own.items()}
      for method, own in found.items()
    }


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Scores what is missing; after every split writes findings.csv, summary.md and pictures.

  Returns True: whatever ends it early ends the command, and what was scored is kept, cell by cell
  (a split by one trivial transfer or one file of weights). Raises `InputError` before work starts
  for weights that cannot be used, and where the workdir holds scores of other people or another
  judge.
  """
  models_by_file = _load(study)
  judge = models_by_file.get(study.judge) or _judge(study)
  place = Workdir(study, workdir, {path: files.digest(path) for path in study.files})
  sources = {split: study.dataset.source(split) for split in study.splits}
  described = models.describe(sources)
  protocol = Protocol(study.data, files.digest(study.judge))
  records = {f"{SCORES}/{s}": Identity(protocol, {s: described[s]}) for s in study.splits}
  cells = [cell for split in study.splits for cell in study.cells(split)]

  def make(cell: Cell) -> bool:
    print(f"{cell}", flush=True)
    draw = (
      models_by_file[cell.weights].draw
      if cell.weights
      else trials.baseline(cell.method, lambda: study.dataset.album(TRAIN))
    )
    source = sources[cell.split]
    own = trials.score(
      source,
      {cell.method: draw},
      judge,
      workdir / PICTURES / place.file(cell).relative_to(workdir / SCORES).with_suffix(""),
    )
    place.write(cell, source.names, {name: values for (_, name), values in own.items()})
    return True

  def tabulate(done: list[Cell]) -> None:
    splits = [split for split in study.splits if any(cell.split == split for cell in done)]
    if not splits:
      return
    found = report.find(study, {split: place.tallies(split) for split in splits})
    write_atomically(workdir / "findings.csv", to_csv(found.values()).encode())
    text = report.write_summary(study, found, splits)
    write_atomically(workdir / "summary.md", text.encode(errors="replace"))
    print(f"{len(splits)} of {len(study.splits)} splits: {workdir / 'summary.md'}", flush=True)

  with Lock(workdir) as lock:
    grid.check(workdir, records)
    grid.take(workdir, lock, records)
    return grid.complete(
      cells, lambda cell: place.file(cell).exists(), make, tabulate, group=lambda cell: cell.split
    )


def _load(study: Study) -> dict[str, Transferrer]:
  """Inference with all weights, by file; refuses those that cannot be used."""
  found = {}
  for path in study.files:
    where = "judge" if path == study.judge else "methods"
    try:
      found[path] = files.load_transferrer(path)
      trials.require_side(found[path], study.dataset, path, "config.data")
    except InputError as error:
      raise InputError(f"config.{where}: {error}") from error
  return found


def _judge(study: Study) -> judges.Independent:
  """BlazePose, by the judge of the settings; refuses what is none."""
  try:
    return judges.load(study.judge)
  except InputError as error:
    raise InputError(f"config.judge: {error}") from error
