"""The numbers to expect: recipes trained from several seeds, and what they score on test pairs.

One workdir holds one study. `run` goes on where it was stopped: what is trained is not trained
again, what is scored is not scored again.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from cfi_jax import convert
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.engine import loop as train
from cfi_jax.engine.compilation import Cache
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.logs import METRICS_FILE, read_metrics
from cfi_jax.fusion.rules import BASELINES
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.metrics import Scores, Triplet, grey_levels, read_scores, score
from cfi_jax.study.results import report
from cfi_jax.study.results.report import Result
from cfi_jax.study.results.study import Study
from cfi_jax.systems import files as weights
from cfi_jax.systems.isfuse.inference import Model
from cfi_jax.weights import shipped

RUNS, WEIGHTS, SCORES = "runs", "weights", "scores"  # folders of the workdir

# f(visible, infrared, name) -> fused: uint8 [H, W, 1 or 3] both, [H, W] or [H, W, 1] the result.
Method = Callable[[np.ndarray, np.ndarray, str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Tests:
  """The pairs to score: sources by test, all sizes, and a hash of the files by test."""

  sources: dict[str, Source]
  sizes: tuple[tuple[int, int], ...]
  described: dict[str, dict]


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and scores what is missing; after every run writes the tables.

  results.csv and results.md hold the scores of the rows, seeds and tests that the study names, as
  far as they are trained; curves.csv the loss by step. Returns whether all is done; not, after
  SIGTERM. Raises `InputError` before work starts for pairs and weights that cannot be used, and
  where the workdir holds other pairs, metrics or recipes under the same names.
  """
  study.require_roots()
  tests = _open(study)
  published = {n: shipped.resolve(path) for n, path in study.published.items() if path}
  for name, path in published.items():
    if not path.is_file():
      raise InputError(
        f"config.published.{name}: {path} is no file; allowed: a weights file, a checkpoint of the "
        f"authors, {', '.join(shipped.SHA256)}"
      )
    _read(path)
  steps = {
    (row, seed): _open_run(study, workdir, row, seed) for seed in study.seeds for row in study.order
  }
  folder = workdir / SCORES
  for test, described in tests.described.items():
    record.check(folder / test, study.protocol, {test: described})
  for test, described in tests.described.items():
    record.write(folder / test, study.protocol, {test: described})

  def write() -> None:
    results = [r for name in BASELINES for r in _trivial(study, folder, tests, name)]
    for name, path in published.items():
      results += _network(study, folder, tests, name, None, path)
    for row in study.order:
      for seed in study.seeds:
        if _weights(workdir, row, seed).exists():
          results += _network(study, folder, tests, row, seed, _weights(workdir, row, seed))
    logged = {key: read_metrics(_folder(workdir, *key) / METRICS_FILE) for key in steps}
    texts = {
      "results.csv": report.to_csv(study, results),
      "results.md": report.to_markdown(study, results),
      "curves.csv": report.to_curves(logged),
    }
    for name, text in texts.items():
      write_atomically(workdir / name, text.encode())

  with Cache(workdir) as cache:  # all networks of one architecture share programs, too
    write()
    cache.keep()
  for (row, seed), count in steps.items():
    if _weights(workdir, row, seed).exists():
      continue
    with Cache(workdir) as cache:
      if not _train(study, workdir, row, seed, count):
        return False
      write()
      cache.keep()
  return True


def _open(study: Study) -> _Tests:
  """The test pairs; refuses what cannot be read and what metrics are not defined on."""
  sources = {test: study.source(test) for test in study.score}
  sizes = []
  for test, source in sources.items():
    for name, headers in zip(source.names, source.check_headers(), strict=True):
      if {header.depth for header in headers.values()} != {np.uint8}:
        raise InputError(
          f"config.tests.{test}: {name} has 16 bits per channel; metrics are defined on 8-bit files"
        )
      sizes.append((headers["visible"].height, headers["visible"].width))
  return _Tests(sources, tuple(sizes), train.describe(sources))


def _open_run(study: Study, workdir: pathlib.Path, row: str, seed: int) -> int:
  """The steps of a run; refuses data and settings it cannot use, and a folder of another run."""
  folder = _folder(workdir, row, seed)
  steps = train.open_run(study.run(row, seed), folder).steps
  if _weights(workdir, row, seed).exists() and record.read(folder) is None:
    raise InputError(
      f"{_weights(workdir, row, seed)} is there, and {folder / record.FILE} is not, which says how "
      "it was trained; remove the weights, or choose another --workdir"
    )
  return steps


def _folder(workdir: pathlib.Path, row: str, seed: int) -> pathlib.Path:
  return workdir / RUNS / f"{row}-{seed}"


def _weights(workdir: pathlib.Path, row: str, seed: int) -> pathlib.Path:
  return workdir / WEIGHTS / f"{row}-{seed}.safetensors"


def _train(study: Study, workdir: pathlib.Path, row: str, seed: int, steps: int) -> bool:
  """Trains a run to the end and writes its weights; False after SIGTERM."""
  print(f"{row}-{seed}:", flush=True)
  folder = _folder(workdir, row, seed)
  if train.train(study.run(row, seed), folder) < steps:
    return False
  weights.save(_weights(workdir, row, seed), *convert.from_workdir(folder, steps))
  return True


def _read(path: pathlib.Path) -> tuple[dict, weights.Card]:
  """Weights of this project, or what `convert` takes."""
  return weights.load(path) if path.suffix == ".safetensors" else convert.read(path)


def _trivial(study: Study, folder: pathlib.Path, tests: _Tests, name: str) -> Iterator[Result]:
  """The scores of a rule of `evaluate.baselines`."""

  def fuse(visible: np.ndarray, infrared: np.ndarray, pair: str) -> np.ndarray:
    grey = (grey_levels(image, study.convention) for image in (visible, infrared))
    return BASELINES[name](*grey, pair)

  for test, source in tests.sources.items():
    yield Result(name, None, test, _scores(study, folder / test / f"{name}.csv", source, fuse))


def _network(
  study: Study,
  folder: pathlib.Path,
  tests: _Tests,
  name: str,
  seed: int | None,
  path: pathlib.Path,
) -> Iterator[Result]:
  """The scores of the weights in a file; they are kept under its hash."""
  models: list[Model] = []

  def fuse(visible: np.ndarray, infrared: np.ndarray, pair: str) -> np.ndarray:
    if not models:
      variables, card = _read(path)
      models.append(Model(variables, card.architecture))
      models[0].reserve(tests.sizes)
    return models[0].fuse(visible, infrared, gray=True)

  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  for test, source in tests.sources.items():
    scores = _scores(study, folder / test / f"{digest[:16]}.csv", source, fuse)
    yield Result(name, seed, test, scores)


def _scores(study: Study, file: pathlib.Path, source: Source, fuse: Method) -> Scores:
  """The scores of a method; computed if the file is not there."""
  if not file.exists():
    triplets = _triplets(source, file.stem, fuse)
    scores = score(triplets, study.metrics, study.convention, total=len(source))
    write_atomically(file, scores.to_csv().encode())
  return read_scores(file)


def _triplets(source: Source, method: str, fuse: Method) -> Iterator[Triplet]:
  for index, pair in enumerate(source.names):
    images = source.read(index)
    visible, infrared = (images[m][..., :3] for m in MODALITIES)  # without alpha
    yield Triplet(method, pair, visible, infrared, fuse(visible, infrared, pair))
