"""Options of a rule, chosen by scores on held-out training pairs and on variations of them."""

import functools
import pathlib

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.study import grid, models, pairs
from cfi_jax.study.options import measure, report
from cfi_jax.study.options.settings import Study

TABLE = "options.md"


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Scores what is missing, rule by rule, and writes options.md when all is there.

  Returns True: whatever ends it early ends the command, and what was scored is kept. Raises
  `InputError` before work starts for pairs that cannot be used, and where the workdir holds scores
  of other pairs, metrics or variations.
  """
  sources = study.sources()
  pairs.read_sizes(sources)
  described = models.describe(sources)
  records = {
    f"{measure.SCORES}/{name}": Identity(study.protocol, {name: described[name]})
    for name in sources
  }
  rules = [*study.beside, *study.candidates]
  made = {name: measure.make_pairs(study, name, source) for name, source in sources.items()}

  def is_done(rule: str) -> bool:
    return all(measure.file(workdir, name, rule).exists() for name in sources)

  def make(rule: str) -> bool:
    print(rule, flush=True)
    measure.measure(study, workdir, rule, made)
    return True

  def tabulate(done: list[str]) -> None:
    if len(done) < len(rules):
      return
    scores = {
      name: {rule: measure.means(study, workdir, name, rule) for rule in rules} for name in sources
    }
    counts = {name: len(own) for name, own in made.items()}
    clipped = functools.cache(lambda name, rule: measure.clipped(rule, made[name]))
    text = report.write_report(study, study.candidates, scores, clipped, counts)
    write_atomically(workdir / TABLE, text.encode(errors="replace"))
    print(workdir / TABLE, flush=True)

  with Lock(workdir) as lock:
    grid.check(workdir, records)
    grid.take(workdir, lock, records)
    return grid.complete(rules, is_done, make, tabulate)
