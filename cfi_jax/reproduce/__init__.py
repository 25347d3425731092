"""The numbers to expect: recipes trained from several seeds, and what they score on test pairs.

One workdir holds one study. `run` goes on where it was stopped: what is trained is not trained
again, what is scored is not scored again.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from cfi_jax import convert, record, train, weights
from cfi_jax.compilation import Cache
from cfi_jax.data.source import Source
from cfi_jax.evaluate.baselines import BASELINES
from cfi_jax.files import write_atomically
from cfi_jax.inference import Model
from cfi_jax.metrics import Scores, Triplet, grey_levels, read_scores, score
from cfi_jax.reproduce import report
from cfi_jax.reproduce.report import Result
from cfi_jax.reproduce.study import Study

RUNS, WEIGHTS, SCORES = "runs", "weights", "scores"  # folders of the workdir

# f(visible, infrared, name) -> fused; images as stored, the fused one uint8 [H, W] or [H, W, 1].
Method = Callable[[np.ndarray, np.ndarray, str], np.ndarray]


def run(study: Study, workdir: pathlib.Path) -> bool:
  """Trains and scores what is missing; after every run writes results.csv and results.md.

  Returns whether all is done; not, after SIGTERM. Raises `InputError` before work starts for pairs
  and weights that cannot be used, and where the workdir holds another study.
  """
  sources = {test: study.source(test) for test in study.tests}
  for source in sources.values():
    source.check_headers()
  published = {name: _read(pathlib.Path(path)) for name, path in study.published.items() if path}
  pairs = {row: len(train.open_sources(study.rows[row])["train"]) for row in study.order}
  described = train.describe(sources)
  record.check(workdir, study.protocol, described)
  record.write(workdir, study.protocol, described)
  results = []

  def add(row: str, seed: int | None, make: Callable[[], Method]) -> None:
    for test, source in sources.items():
      name = row if seed is None else f"{row}-{seed}"
      results.append(Result(row, seed, test, _scores(study, workdir, test, source, name, make)))

  for name, rule in BASELINES.items():
    add(name, None, functools.partial(_rule, rule, study.convention))
  for name, (variables, card) in published.items():
    add(name, None, functools.partial(_network, variables, card))
  _write(study, workdir, results)
  for seed in study.seeds:
    for row in study.order:
      file = _trained(study, workdir, row, seed, pairs[row])
      if file is None:
        return False
      add(row, seed, lambda file=file: _network(*weights.load(file)))
      _write(study, workdir, results)
  return True


def _read(path: pathlib.Path) -> tuple[dict, weights.Card]:
  """Weights of this project, or what `convert` takes."""
  return weights.load(path) if path.suffix == ".safetensors" else convert.read(path)


def _rule(rule: Method, convention: str) -> Method:
  return lambda visible, infrared, name: rule(
    grey_levels(visible, convention), grey_levels(infrared, convention), name
  )


def _network(variables: dict, card: weights.Card) -> Method:
  model = Model(variables, card.architecture)
  return lambda visible, infrared, name: model.fuse(visible, infrared, gray=True)


def _trained(
  study: Study, workdir: pathlib.Path, row: str, seed: int, pairs: int
) -> pathlib.Path | None:
  """The weights file of a run, trained if need be; None after SIGTERM."""
  file = workdir / WEIGHTS / f"{row}-{seed}.safetensors"
  if file.exists():
    return file
  print(f"{row}-{seed}:", flush=True)
  config, folder = study.run(row, seed), workdir / RUNS / f"{row}-{seed}"
  with Cache(workdir) as cache:  # seeds share programs
    done = train.train(config, folder)
    cache.keep()
  if done < train.count_steps(config, pairs):
    return None
  weights.save(file, *convert.from_workdir(folder, done))
  return file


def _scores(
  study: Study,
  workdir: pathlib.Path,
  test: str,
  source: Source,
  name: str,
  make: Callable[[], Method],
) -> Scores:
  """The scores of a method on a test; computed, by what `make` gives, if the workdir has none."""
  file = workdir / SCORES / test / f"{name}.csv"
  if not file.exists():
    triplets = _triplets(source, name, make())
    scores = score(triplets, study.metrics, study.convention, total=len(source))
    write_atomically(file, scores.to_csv().encode())
  return read_scores(file)


def _triplets(source: Source, name: str, method: Method) -> Iterator[Triplet]:
  for index, pair in enumerate(source.names):
    visible, infrared = source.read(index)
    yield Triplet(name, pair, visible, infrared, method(visible, infrared, pair))


def _write(study: Study, workdir: pathlib.Path, results: list[Result]) -> None:
  write_atomically(workdir / "results.csv", report.to_csv(study, results).encode())
  write_atomically(workdir / "results.md", report.to_markdown(study, results).encode())
