"""Downstream tasks: a network that perceives, trained on one image, the other, both, and fused."""

import pathlib

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.report.findings import to_csv
from cfi_jax.study import grid, models
from cfi_jax.study.downstream import measure, page, report
from cfi_jax.study.downstream.settings import Study
from cfi_jax.systems.perception.scores import open_split

MEASURED = "measured"  # folder of the workdir


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and scores what is missing; after every complete seed writes findings.csv, summary.md
  and report.html into `workdir`.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before any training for
  images, fused images and settings that cannot be used, and where the workdir holds other rows
  under the same names. Weights fuse before that, too; what they fuse is kept.
  """
  first = study.seeds[0]
  sources = {row: _open(study, row, first) for row in study.order}
  described = models.describe(sources)
  with Lock(workdir) as lock:
    cells = grid.Grid(study, workdir, f"{MEASURED}/{{}}.npz", lock)
    cells.require_records()
    cells.claim(
      {
        f"{MEASURED}/{row}": Identity(measure.PROTOCOL, {study.split: described[row]})
        for row in study.order
      }
    )

    def finish(run: grid.Run) -> None:
      perceiver = models.load(*models.trained(cells.folder(*run), cells.steps[run]))
      kept = measure.measure(sources[run[0]], perceiver, study.probe.classes)
      measure.write(cells.file(*run), kept)

    def tabulate(done: list[grid.Run]) -> None:
      seeds = [seed for seed in study.seeds if (study.order[0], seed) in done]
      if not seeds:
        return
      kept = {row: [measure.read(cells.file(row, seed)) for seed in seeds] for row in study.order}
      found = report.find(study, {row: [k.scores for k in own] for row, own in kept.items()})
      about = report.describe(study, seeds, kept)
      texts = {
        "findings.csv": to_csv(found.values()),
        "summary.md": report.write_summary(study, found, about),
        "report.html": page.write_page(study, found, about, kept),
      }
      for name, text in texts.items():
        write_atomically(workdir / name, text.encode(errors="replace"))
      print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / 'summary.md'}", flush=True)

    return cells.complete(finish, tabulate, whole_seeds=True)


def _open(study: Study, row: str, seed: int) -> Source:
  """The images that a row is scored on; InputError names the entry of what fuses for it."""
  try:
    return open_split(study.config(row, seed), study.split)
  except InputError as error:
    if row not in study.fused:
      raise
    raise InputError(f"config.fused.{row}: {error}") from error
