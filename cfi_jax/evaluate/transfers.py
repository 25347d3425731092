"""Scores of pose transfer on the embedded people, beside trivial transfers."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax import systems
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.transfers import TRAIN
from cfi_jax.report.estimates import Estimate, estimate
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.systems.dfcnet import scores, trials
from cfi_jax.systems.dfcnet.baselines import BASELINES
from cfi_jax.systems.files import label, load_transferrer


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
  _, built = systems.configure(dict(config))
  dataset = trials.open_people(built.data, "config.data")
  trials.require_held_out(split, "--split")
  transferring, name = load_transferrer(weights), label(weights)
  trials.require_side(transferring, dataset, os.fspath(weights), "config.data")
  if name in BASELINES:
    raise InputError(f"the weights are called {name!r}, as is a trivial transfer; rename the file")
  require_folder(output)
  source = dataset.source(split)
  methods: dict[str, trials.Draw] = {name: transferring.draw}
  methods |= {each: trials.baseline(each, lambda: dataset.album(TRAIN)) for each in BASELINES}
  values = trials.score(source, methods, transferring, output / "pictures")
  scored = Table(source.names, values)
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
