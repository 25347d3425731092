"""Scores of pose transfer on the embedded people, beside trivial transfers."""

import csv
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax import datasets, systems
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures.transfers import TRAIN, Figures, FigureSource
from cfi_jax.images import ops
from cfi_jax.images.write import write_image
from cfi_jax.report.estimates import Estimate, estimate
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.systems.dfcnet import scores
from cfi_jax.systems.dfcnet.baselines import BASELINES
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.dfcnet.samples import Transfer, make_transfer
from cfi_jax.systems.files import label, load_transferrer

HELD_OUT = ("test", "known", "validation")
ROWS = 20  # records of a batch, and pictures that are written
Draw = Callable[[Transfer], Array]


@dataclasses.dataclass(frozen=True)
class Table:
  """Scores [records] by method and score, NaN where a picture has nothing to measure."""

  names: tuple[str, ...]
  values: dict[tuple[str, str], np.ndarray]

  @property
  def methods(self) -> tuple[str, ...]:
    """The methods, in order."""
    return tuple(dict.fromkeys(method for method, _ in self.values))

  def estimate(self, method: str, score: str) -> Estimate:
    """The mean with its 95 % bootstrap interval over records."""
    return estimate(self.values[method, score])

  def to_csv(self) -> str:
    """One line per method, record and score, with a header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "name", "score", "value"))
    for (method, score), values in self.values.items():
      writer.writerows(
        (method, n, score, f"{v:.9g}") for n, v in zip(self.names, values, strict=True)
      )
    return text.getvalue()

  def to_markdown(self, title: str, notes: tuple[str, ...]) -> str:
    """Means with intervals, a method a row; an arrow says where better is."""
    arrows = {"higher": "↑", "lower": "↓"}
    heads = [f"{score} {arrows[way]}" for score, way in scores.DIRECTIONS.items()]
    rows = []
    for method in self.methods:
      found = [self.estimate(method, score) for score in scores.DIRECTIONS]
      rows.append([plain(method), *(f"{number(e.mean)} {interval(e)}" for e in found)])
    return document(title, [table(["method", *heads], rows)], notes)

  def to_text(self) -> str:
    """Means, a method a row, as plain text."""
    rows = [["mean", *scores.DIRECTIONS]]
    for method in self.methods:
      means = (self.estimate(method, score).mean for score in scores.DIRECTIONS)
      rows.append([method, *map(number, means)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
      "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def evaluate_transfers(
  config: Mapping[str, Any], weights: str | os.PathLike, split: str, output: pathlib.Path
) -> Table:
  """Scores weights on a held-out split of a config's people; writes the table and pictures.

  Writes scores.csv, summary.md, and pictures of the first 20 records: target | source | every
  method. Keypoints of the pictures are read by the estimator of the weights themselves, whose own
  error stands in the row "truth". Raises InputError for a config without people, weights that
  transfer no poses or were trained at another size, and an unknown split.
  """
  system, built = systems.configure(dict(config))
  dataset = datasets.load(built.data)
  if not isinstance(dataset, Figures):
    raise InputError(
      f"config.data.name is {built.data['name']!r}: transfers are scored on procedural people, "
      "whose answers are known; allowed: figures"
    )
  if split not in HELD_OUT:
    raise InputError(f"--split={split}; allowed: {', '.join(HELD_OUT)}")
  transferring, name = load_transferrer(weights), label(weights)
  if transferring.side != dataset.size:
    raise InputError(
      f"{weights} was trained at {transferring.side} pixels and config.data.size is "
      f"{dataset.size}; allowed: the same"
    )
  if name in BASELINES:
    raise InputError(f"the weights are called {name!r}, as is a trivial transfer; rename the file")
  require_folder(output)
  source, training = dataset.source(split), dataset.album(TRAIN)
  methods: dict[str, Draw] = {name: transferring.draw}
  methods |= {n: functools.partial(_baseline, rule, training) for n, rule in BASELINES.items()}
  scored = _score(source, methods, transferring, output / "pictures")
  notes = (
    f"{len(source)} transfers of the split {split!r} of {dataset.title} (seed {dataset.seed}).",
    "Keypoints are found by the estimator of these weights, which the training of the network has "
    'seen, too; the row "truth" has its own error.',
  )
  title = f"Pose transfer: {name} on {split}"
  for file, text in (
    ("scores.csv", scored.to_csv()), ("summary.md", scored.to_markdown(title, notes))
  ):  # fmt: skip
    write_atomically(output / file, text.encode(errors="replace"))
  return scored


def _baseline(rule: Callable, training: Any, samples: Transfer) -> Array:
  return rule(samples, training)


def _score(
  source: FigureSource, methods: dict[str, Draw], judge: Transferrer, pictures: pathlib.Path
) -> Table:
  measure = jax.jit(scores.every)
  found: dict[tuple[str, str], list[np.ndarray]] = {}
  for names, samples in track(_batches(source), "scoring", "batch", -(-len(source) // ROWS)):
    made = {name: jnp.asarray(draw(samples)) for name, draw in methods.items()}
    for method, picture in made.items():
      values = jax.device_get(measure(picture, samples, judge.read(picture)))
      for score in scores.DIRECTIONS:
        found.setdefault((method, score), []).append(values[score][: len(names)])
    if names[0] == source.names[0]:
      columns = jnp.concatenate([samples.target, samples.source, *made.values()], axis=-2)
      pictures.mkdir(parents=True, exist_ok=True)
      for name, row in zip(names, np.asarray(ops.to_uint8(columns)), strict=False):
        write_image(pictures / f"{name}.png", row)
  return Table(source.names, {key: np.concatenate(parts) for key, parts in found.items()})


def _batches(source: FigureSource) -> Iterator[tuple[tuple[str, ...], Transfer]]:
  """Names and samples of `ROWS` records at a time; the last record fills the last batch."""
  finish = jax.jit(jax.vmap(lambda images: make_transfer(images, None)))
  for start in range(0, len(source), ROWS):
    indices = [min(i, len(source) - 1) for i in range(start, start + ROWS)]
    records = [source[i] for i in indices]
    images = {n: np.stack([r[n] for r in records]).astype(np.float32) / 255 for n in records[0]}
    yield source.names[start : start + ROWS], finish(images)
