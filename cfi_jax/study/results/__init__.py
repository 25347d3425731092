"""The numbers to expect: recipes trained from several seeds, and their scores on test pairs."""

import hashlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.data.source import Source
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.logs import METRICS_FILE, read_metrics
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.metrics import Scores, Triplet, grey_levels, read_scores, score
from cfi_jax.study import grid, models, pairs
from cfi_jax.study.results import report
from cfi_jax.study.results.settings import Protocol, Study
from cfi_jax.systems import baselines
from cfi_jax.systems.baselines import BASELINES

# f(visible, infrared, name) -> fused: uint8 [H, W, 1 or 3] both, [H, W] or [H, W, 1] the result.
Method = Callable[[np.ndarray, np.ndarray, str], np.ndarray]

WEIGHTS, SCORES = "weights", "scores"  # folders of the workdir


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and scores what is missing; after every run writes the tables.

  results.csv and results.md hold the scores of the rows, seeds and tests that the study names, as
  far as they are trained; curves.csv the loss by step. Returns whether all is done; not, after
  SIGTERM. Raises `InputError` before work starts for pairs and weights that cannot be used, and
  where the workdir holds other pairs, metrics or recipes under the same names.
  """
  with Lock(workdir) as lock:
    return _run(study, workdir, lock)


def _run(study: Study, workdir: pathlib.Path, lock: Lock) -> bool:
  sources = study.sources()
  sizes = [size for own in pairs.read_sizes(sources).values() for size in own]
  published = models.published(study.published)
  protocol = Protocol(study.metrics, study.convention)
  described = models.describe(sources)
  baselines.reserve(sizes)
  cells = grid.Grid(study, workdir, f"{WEIGHTS}/{{}}.safetensors", lock)
  cells.require_records()
  cells.claim({f"{SCORES}/{test}": Identity(protocol, {test: described[test]}) for test in sources})

  def methods(done: list[grid.Run]) -> Iterator[tuple[str, str, Method]]:
    """All that is scored: its row, the name of its files of scores, and the method."""
    for name in BASELINES:
      yield name, name, _baseline(study, name)
    rows = sorted(done, key=lambda run: study.order.index(run[0]))
    for name, path in (*published.items(), *((run[0], cells.file(*run)) for run in rows)):
      yield name, *_network(path, sizes)

  def tabulate(done: list[grid.Run]) -> None:
    results = {test: {} for test in sources}
    for row, key, method in methods(done):
      for test, source in sources.items():
        scores = _scores(study, workdir / SCORES / test / f"{key}.csv", source, method)
        results[test].setdefault(row, []).append(scores)
    logged = {run: read_metrics(cells.folder(*run) / METRICS_FILE) for run in study.runs}
    texts = {
      "results.csv": report.to_csv(study, results),
      "results.md": report.to_markdown(study, results),
      "curves.csv": report.to_curves(logged),
    }
    for name, text in texts.items():
      write_atomically(workdir / name, text.encode())

  def finish(run: grid.Run) -> None:
    models.save(cells.file(*run), *models.trained(cells.folder(*run), cells.steps[run]))

  return cells.complete(finish, tabulate)


def _baseline(study: Study, name: str) -> Method:
  """The baseline of that name, on grey levels."""
  return lambda visible, infrared, pair: BASELINES[name](
    grey_levels(visible, study.convention), grey_levels(infrared, study.convention), pair
  )


def _network(path: pathlib.Path, sizes: list[tuple[int, int]]) -> tuple[str, Method]:
  """The network of the weights in a file, and their hash, under which its scores are kept."""
  fuse = models.file_fuser(path, sizes)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  return digest[:16], lambda visible, infrared, _: fuse(visible, infrared)


def _scores(study: Study, file: pathlib.Path, source: Source, method: Method) -> Scores:
  """The scores of a method; computed if the file is not there."""

  def triplets() -> Iterator[Triplet]:
    for index, pair in enumerate(source.names):
      images = source.read(index)
      visible, infrared = (images[m][..., :3] for m in MODALITIES)  # without alpha
      yield Triplet(file.stem, pair, visible, infrared, method(visible, infrared, pair))

  if not file.exists():
    scores = score(triplets(), study.metrics, study.convention, total=len(source))
    write_atomically(file, scores.to_csv().encode())
  return read_scores(file)
