"""A study of distribution shift: recipes trained in one world, tested in others and disturbed ones.

One workdir holds one study. `run` goes on where it was stopped: runs that are trained are not
trained again, what was measured is not measured again.
"""

import pathlib
from collections.abc import Sequence

import tqdm

from cfi_jax import convert
from cfi_jax.core.files import write_atomically
from cfi_jax.engine import loop as train
from cfi_jax.engine.compilation import Cache
from cfi_jax.engine.workdir import record
from cfi_jax.report import figures
from cfi_jax.report.findings import to_csv
from cfi_jax.study.shift import measure, plots, report, results
from cfi_jax.study.shift.measure import Measured, Trial
from cfi_jax.study.shift.study import Study
from cfi_jax.systems import files as weights

RUNS = "runs"  # of the workdir: one folder per recipe and seed
MEASURED = "measured"  # of the workdir: one file per run


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and measures what is missing; after every complete seed writes findings.csv, summary.md
  and plots into `workdir`.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before work starts where the
  workdir holds another study or matplotlib is missing.
  """
  figures.require_matplotlib()
  record.check(workdir, study.protocol, {})
  record.write(workdir, study.protocol, {})
  with Cache(workdir) as cache:
    trials = measure.trials(study)
    trivial = _trivial(study, trials)
    cache.keep()
  runs: dict[str, list[Measured]] = {recipe: [] for recipe in study.order}
  for count, seed in enumerate(study.seeds, start=1):
    known = all(_file(workdir, recipe, seed).exists() for recipe in study.order)
    for recipe in study.order:
      with Cache(workdir) as cache:  # seeds share programs: they are kept for the whole study
        measured = _measured(study, workdir, recipe, seed, trials)
        cache.keep()
      if measured is None:
        return False
      runs[recipe].append(measured)
    if not known or count == len(study.seeds):
      _report(study, workdir, runs | trivial, trials, study.seeds[:count])
  return True


def _file(workdir: pathlib.Path, recipe: str, seed: int) -> pathlib.Path:
  """Where what was measured of a run is kept."""
  return workdir / MEASURED / f"{recipe}-{seed}.npz"


def _measured(
  study: Study, workdir: pathlib.Path, recipe: str, seed: int, trials: Sequence[Trial]
) -> Measured | None:
  """What the run of a recipe and seed does; trained and measured if need be. None after SIGTERM."""
  name, file = f"{recipe}-{seed}", _file(workdir, recipe, seed)
  if file.exists():
    return measure.load(file, study)
  folder = workdir / RUNS / name
  print(f"{name}:", flush=True)
  if train.train(study.run(recipe, seed), folder) < study.train.steps:
    return None
  variables, card = convert.from_workdir(folder, study.train.steps)
  rule = measure.network(weights.model(card.architecture, "float32"), variables)
  measured = measure.collect(
    lambda trial: measure.measure(study, name, rule, trial), _bar(trials, f"measuring {name}")
  )
  measure.save(file, measured)
  return measured


def _trivial(study: Study, trials: Sequence[Trial]) -> dict[str, list[Measured]]:
  """What rules without training do, and what the sources show."""
  measured = {
    name: measure.collect(
      lambda trial, name=name: measure.measure(study, name, measure.trivial(name), trial),
      _bar(trials, f"measuring {name}"),
    )
    for name in measure.TRIVIAL
  }
  sources = measure.collect(lambda trial: measure.either_source(study, trial), trials)
  return {name: [one] for name, one in (measured | {measure.EITHER: sources}).items()}


def _bar(trials: Sequence[Trial], text: str) -> tqdm.tqdm:
  """The trials, with a progress bar where the output is a terminal."""
  return tqdm.tqdm(trials, desc=text, unit="condition", disable=None)


def _report(
  study: Study,
  workdir: pathlib.Path,
  measured: dict[str, list[Measured]],
  trials: Sequence[Trial],
  seeds: Sequence[int],
) -> None:
  findings = results.find(study, measured)
  summary = report.write_summary(study, findings, trials, seeds)
  write_atomically(workdir / "findings.csv", to_csv(findings).encode())
  write_atomically(workdir / "summary.md", summary.encode())
  plots.write_plots(study, findings, workdir)
  print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / 'summary.md'}", flush=True)
