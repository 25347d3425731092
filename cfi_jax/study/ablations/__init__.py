"""Ablations: recipes without one of their parts, compared by the scores of held-out samples."""

import json
import math
import pathlib

import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.report.crossed import Tally
from cfi_jax.report.findings import to_csv
from cfi_jax.study import grid, models
from cfi_jax.study.ablations import report
from cfi_jax.study.ablations.settings import Study

MEASURED = "measured"  # folder of the workdir


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and measures what is missing; after every complete seed writes findings.csv and
  summary.md into `workdir`.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before work starts for data
  and settings that cannot be used, and where the workdir holds other rows under the same names.
  """
  with Lock(workdir) as lock:
    cells = grid.Grid(study, workdir, f"{MEASURED}/{{}}.json", lock)
    cells.require_records()
    cells.claim({})

    def finish(run: grid.Run) -> None:
      samples = models.validate(study.config(*run), cells.folder(*run))
      scores = samples.values | samples.scores
      kept = {name: [_plain(x) for x in values] for name, values in scores.items()}
      content = {"names": samples.names, "scores": kept}
      write_atomically(cells.file(*run), (json.dumps(content) + "\n").encode())

    def tabulate(done: list[grid.Run]) -> None:
      seeds = [seed for seed in study.seeds if (study.reference, seed) in done]
      if not seeds:
        return
      files = {row: [cells.file(row, seed) for seed in seeds] for row in study.order}
      found = report.find(study, {row: _tallies(study, own) for row, own in files.items()})
      write_atomically(workdir / "findings.csv", to_csv(found.values()).encode())
      summary = report.write_summary(study, found, seeds)
      write_atomically(workdir / "summary.md", summary.encode())
      print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / 'summary.md'}", flush=True)

    return cells.complete(finish, tabulate, whole_seeds=True)


def _plain(value: np.ndarray) -> float | None:
  """A number for JSON."""
  return float(value) if math.isfinite(value) else None


def _tallies(study: Study, files: list[pathlib.Path]) -> dict[str, Tally]:
  """The tallies [seeds, samples] of one row by score; refuses files of other scores."""
  try:
    scores = [json.loads(file.read_bytes())["scores"] for file in files]
    values = {
      name: np.array([[math.nan if x is None else x for x in own[name]] for own in scores])
      for name in study.scores
    }
  except (OSError, ValueError, KeyError, TypeError) as error:
    listed = ", ".join(map(str, files))
    raise InputError(
      f"{listed}: damaged or of other scores ({error}); remove to measure again"
    ) from error
  return {name: Tally.of(own) for name, own in values.items()}
