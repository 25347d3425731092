"""Quality under weather: methods that fuse degraded pairs, scored against the clean ones."""

import pathlib

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.study import grid, models, pairs
from cfi_jax.study.weather import measure, report, rows
from cfi_jax.study.weather import methods as methods_lib
from cfi_jax.study.weather.measure import SCORES, Pictures
from cfi_jax.study.weather.settings import Cell, Study

TABLES = ("rows.jsonl", "weather.md")


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Scores what is missing; after every complete seed of weather writes rows.jsonl and weather.md.

  Returns True: whatever ends it early ends the command, and what was scored is kept, cell by cell
  (a test under one kind and level of weather from one seed). Raises `InputError` before work starts
  for pairs and weights that cannot be used, and where the workdir holds scores of other pairs,
  metrics or thermal models.
  """
  sources = study.sources()
  sizes = pairs.read_sizes(sources)
  methods = methods_lib.load(study)
  pictures = Pictures(study, sources)
  described = models.describe(sources)
  records = {
    f"{SCORES}/{test}": Identity(study.protocol, {test: described[test]}) for test in sources
  }
  methods.reserve(sizes[test][index] for test in sources for index in pictures.chosen(test))

  def make(cell: Cell) -> bool:
    print(f"{cell}", flush=True)
    measure.measure(workdir, methods, pictures, cell)
    return True

  def tabulate(done: list[Cell]) -> None:
    seeds = [seed for seed in study.seeds if any(cell.seed == seed for cell in done)]
    whole = [cell for cell in done if not cell.kind]
    if not seeds or len(whole) < len(study.score):
      return
    found = rows.find(workdir, methods, done)
    texts = (rows.to_json_lines(found), report.write_report(methods, found, seeds))
    for name, text in zip(TABLES, texts, strict=True):
      write_atomically(workdir / name, text.encode(errors="replace"))
    print(f"{len(seeds)} of {len(study.seeds)} seeds: {workdir / TABLES[-1]}", flush=True)

  with Lock(workdir) as lock:
    grid.check(workdir, records)
    grid.take(workdir, lock, records)
    return grid.complete(
      study.cells,
      lambda cell: not measure.missing(workdir, methods, cell),
      make,
      tabulate,
      group=lambda cell: cell.seed,
    )
