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
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures.transfers import TRAIN
from cfi_jax.metrics import frechet, inception, lpips
from cfi_jax.report.estimates import Estimate, estimate
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.systems.dfcnet import judges, scores, trials
from cfi_jax.systems.dfcnet.baselines import BASELINES
from cfi_jax.systems.files import label, load_transferrer

DIRECTIONS = scores.DIRECTIONS | scores.OF_NETWORKS


@dataclasses.dataclass(frozen=True)
class Given:
  """Files with networks of others, which the user has; "" for none.

  lpips: of `metrics.lpips.load`. fid: of `metrics.inception.load`. judge: of BlazePose
  (`keypoints.blazepose.load`), which reads keypoints in place of the weights' own estimator.
  """

  lpips: str = ""
  fid: str = ""
  judge: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """Scores [records] by method and score, NaN where a picture has nothing to measure.

  fid: of all records together, by method; none without its network.
  """

  names: tuple[str, ...]
  values: dict[tuple[str, str], np.ndarray]
  fid: dict[str, float]

  @property
  def methods(self) -> tuple[str, ...]:
    """The methods, in order."""
    return tuple(dict.fromkeys(method for method, _ in self.values))

  @property
  def scores(self) -> tuple[str, ...]:
    """The scores of single records, in order."""
    return tuple(dict.fromkeys(score for _, score in self.values))

  def estimate(self, method: str, score: str) -> Estimate:
    """The mean with its 95 % bootstrap interval over records."""
    return estimate(self.values[method, score])

  def to_csv(self) -> str:
    """One line per method, record and score, with a header; FID has no name of a record."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("method", "name", "score", "value"))
    for (method, score), values in self.values.items():
      writer.writerows(
        (method, n, score, f"{v:.9g}") for n, v in zip(self.names, values, strict=True)
      )
    writer.writerows((method, "", "FID", f"{value:.9g}") for method, value in self.fid.items())
    return text.getvalue()

  def to_markdown(self, title: str, notes: tuple[str, ...]) -> str:
    """Means with intervals, a method a row; an arrow says where better is."""
    arrows = {"higher": "↑", "lower": "↓"}
    names = (*self.scores, *(["FID"] if self.fid else []))
    heads = [f"{score} {arrows[DIRECTIONS[score]]}" for score in names]
    rows = []
    for method in self.methods:
      found = (self.estimate(method, score) for score in self.scores)
      cells = [f"{number(e.mean)} {interval(e)}" for e in found]
      rows.append([plain(method), *cells, *self._fid(method)])
    return document(title, [table(["method", *heads], rows)], notes)

  def to_text(self) -> str:
    """Means, a method a row, as plain text."""
    rows = [["mean", *self.scores, *(["FID"] if self.fid else [])]]
    for method in self.methods:
      means = (self.estimate(method, score).mean for score in self.scores)
      rows.append([method, *map(number, means), *self._fid(method)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
      "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )

  def _fid(self, method: str) -> list[str]:
    """The cell of FID, none without it."""
    return [number(self.fid[method])] if self.fid else []


def evaluate_transfers(
  config: Mapping[str, Any],
  weights: str | os.PathLike,
  split: str,
  output: pathlib.Path,
  given: Given = Given(),
) -> Table:
  """Scores weights on a held-out split of a config's people; writes the table and pictures.

  Writes scores.csv, summary.md, and pictures of the first 20 records: target | source | every
  method. Keypoints of the pictures are read by the estimator of the weights themselves, or by the
  judge of `given`; its own error stands in the row "truth". Raises InputError for a config without
  people, weights that transfer no poses or were trained at another size, an unknown split, and
  files of `given` that hold something else.
  """
  _, built = systems.configure(dict(config))
  dataset = trials.open_people(built.data, "config.data")
  trials.require_held_out(split, "--split")
  transferring, name = load_transferrer(weights), label(weights)
  trials.require_side(transferring, dataset, os.fspath(weights), "config.data")
  if name in BASELINES:
    raise InputError(f"the weights are called {name!r}, as is a trivial transfer; rename the file")
  judge = judges.load(given.judge) if given.judge else transferring
  distance = lpips.load(given.lpips) if given.lpips else None
  if distance is not None:
    distance.require(dataset.size, dataset.size)
  params = inception.load(given.fid) if given.fid else None
  require_folder(output)
  source = dataset.source(split)
  methods: dict[str, trials.Draw] = {name: transferring.draw}
  methods |= {each: trials.baseline(each, lambda: dataset.album(TRAIN)) for each in BASELINES}
  more = {} if distance is None else {"LPIPS": distance.distance}
  features: dict[str, list[np.ndarray]] = {method: [] for method in methods}

  def watch(method: str, made: Array) -> None:
    if params is not None:
      features[method].append(np.asarray(inception.features(params, made)))

  values = trials.score(source, methods, judge, output / "pictures", more, watch)
  fid = {}
  if params is not None:
    whole = {method: np.concatenate(parts) for method, parts in features.items()}
    fid = {m: frechet.frechet_distance(own, whole["truth"]) for m, own in whole.items()}
  scored = Table(source.names, values, fid)
  notes = [
    f"{len(source)} transfers of the split {split!r} of {dataset.title} (seed {dataset.seed}).",
    f'Keypoints are found by BlazePose, of `{pathlib.Path(given.judge).name}`; the row "truth" '
    "has its own error."
    if given.judge
    else "Keypoints are found by the estimator of these weights, which the training of the network "
    'has seen, too; the row "truth" has its own error.',
  ]
  if distance is not None:
    notes.append(
      f"LPIPS by the network {distance.network!r} of `{pathlib.Path(given.lpips).name}`, of the "
      f"pictures at their own {dataset.size} pixels."
    )
  if params is not None:
    notes.append(
      f"FID of {len(source)} made pictures and as many answers, scaled to {inception.SIDE} pixels "
      f"bilinearly, by `{pathlib.Path(given.fid).name}`. It depends on the number of pictures, on "
      "scaling and on the reference: compare it within this table alone."
    )
  title = f"Pose transfer: {name} on {split}"
  for file, text in (
    ("scores.csv", scored.to_csv()), ("summary.md", scored.to_markdown(title, tuple(notes)))
  ):  # fmt: skip
    write_atomically(output / file, text.encode(errors="replace"))
  return scored
