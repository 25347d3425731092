"""Dissection: what networks of one image and of both make of each modality, as they are trained."""

import pathlib

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.report import figures
from cfi_jax.report.findings import to_csv
from cfi_jax.study import grid, models
from cfi_jax.study.dissect import dissection, measure, plots, report, results
from cfi_jax.study.dissect.settings import Protocol, Study

LOOKS = "looks"  # folder of the workdir: what was seen of every run


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and looks at what is missing; after every complete seed writes findings.csv, summary.md,
  report.html and plots into `workdir`.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before work starts for data
  and settings that cannot be used, where the workdir holds another study, and where matplotlib is
  missing.
  """
  figures.require_matplotlib()
  with Lock(workdir) as lock:
    cells = grid.Grid(study, workdir, f"{LOOKS}/{{}}.npz", lock)
    older = {f"train.{path}": value for path, value in study.train.OLDER.items()}
    operational = tuple(f"train.{path}" for path in study.train.OPERATIONAL)
    protocol = Protocol(study.train, study.tests)
    cells.claim({"": Identity(protocol, {}, older=older, operational=operational)})
    scenes = measure.open_scenes(study)
    own = dissection.Dissection.of(study, scenes, lambda run: measure.load(cells.file(*run), study))

    def finish(run: grid.Run) -> None:
      network, steps = study.network(run[0]), study.tests.steps
      looks = {}
      for step, kept in models.variables_at(study.config(*run), cells.folder(*run), steps):
        given = measure.GIVEN if step == steps[-1] else measure.GIVEN[:1]
        looks[step] = measure.look(network, kept["params"], scenes, given)
      measure.save(cells.file(*run), looks)

    def tabulate(done: list[grid.Run]) -> None:
      seeds = [seed for seed in study.seeds if all((row, seed) in done for row in study.order)]
      if not seeds:
        return
      found = results.find(own, seeds)
      files = plots.draw(found, study.tests.steps)
      for name, content in files.items():
        write_atomically(workdir / "plots" / name, content)
      write_atomically(workdir / "findings.csv", to_csv(found.values()).encode())
      summary = report.write_summary(own, found, seeds)
      write_atomically(workdir / "summary.md", summary.encode(errors="replace"))
      write_atomically(
        workdir / "report.html", report.write_page(own, found, seeds, files).encode()
      )
      print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / 'summary.md'}", flush=True)

    return cells.complete(finish, tabulate, whole_seeds=True)
