"""Distribution shift: recipes trained in one world, tested in others and in disturbed ones."""

import functools
import pathlib

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.report import figures
from cfi_jax.report.findings import to_csv
from cfi_jax.study import grid, models
from cfi_jax.study.shift import measure, plots, report, results
from cfi_jax.study.shift.settings import TRIVIAL, Protocol, Study

MEASURED = "measured"  # folder of the workdir


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and measures what is missing; after every complete seed writes findings.csv, summary.md
  and plots into `workdir`.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before work starts where the
  workdir holds another study or matplotlib is missing.
  """
  figures.require_matplotlib()
  with Lock(workdir) as lock:
    return _run(study, workdir, lock)


def _run(study: Study, workdir: pathlib.Path, lock: Lock) -> bool:
  cells = grid.Grid(study, workdir, f"{MEASURED}/{{}}.npz", lock)
  protocol = Protocol(study.train, study.recipes, study.tests)
  older = {f"train.{path}": value for path, value in study.train.OLDER.items()}
  operational = tuple(f"train.{path}" for path in study.train.OPERATIONAL)
  cells.claim({"": Identity(protocol, {}, older=older, operational=operational)})
  published = models.published(study.published)
  trials = measure.trials(study)
  measured = functools.partial(measure.measure_all, study, trials)
  fixed = {name: [measured(name, measure.trivial(name))] for name in TRIVIAL}
  fixed[measure.EITHER] = [measured(measure.EITHER, None)]
  for name, path in published.items():
    fixed[name] = [measured(name, measure.of_weights(path, study.world.size))]

  def finish(run: grid.Run) -> None:
    fuse = models.batch_fuser(*models.trained(cells.folder(*run), cells.steps[run]))
    measure.save(cells.file(*run), measured("{}-{}".format(*run), fuse))

  def tabulate(done: list[grid.Run]) -> None:
    seeds = [seed for seed in study.seeds if all((row, seed) in done for row in study.order)]
    if not seeds:
      return
    runs = {
      row: [measure.load(cells.file(row, seed), study) for seed in seeds] for row in study.order
    }
    found = results.find(study, runs | fixed)
    summary = report.write_summary(study, found, trials, seeds)
    write_atomically(workdir / "findings.csv", to_csv(found.values()).encode())
    write_atomically(workdir / "summary.md", summary.encode())
    plots.write_plots(study, found, workdir)
    print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / 'summary.md'}", flush=True)

  return cells.complete(finish, tabulate, whole_seeds=True)
