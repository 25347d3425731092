"""Invariance gates: their level, how they move, and what they follow.

A gate g is in [0, 1] per pixel of a level: 0 takes the local sum of both modalities, 1 what they
attend to in one another. Conditions begin with "level K", 1 the finest.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from cfi_jax.analyze.measures import maps, treatments
from cfi_jax.analyze.measures.samples import Sample, require
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.measures.treatments import DROPPED, MASKED
from cfi_jax.core.progress import track
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.images import ops
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.findings import Finding, Row, find, tabulate

BINS = 20  # of the histogram on [0, 1]


def analyse(subject: Subject, samples: Sequence[Sample], seed: int = 0) -> list[Finding]:
  """The gates of a model, analysis "gates"; nothing for a model without gates; seed: of the masks.

  By quantity, one value per image, averaged over images:
    mean, spread within images: mean and standard deviation of g over an image.
    spread between images: standard deviation over images of an image's mean, n - 1 in the
      denominator; its interval is that of the mean squared deviation. NaN for one image.
    entropy, entropy share: mean of -g ln g - (1 - g) ln(1 - g), in nats; as a share of ln 2 (g at
      1/2 everywhere: the gate decides nothing).
    histogram: share of pixels, x the centre of the bin.
    movement: mean |g(do) - g| under each treatment, condition "level K, TREATMENT"; movement inside
      holes, movement outside holes: over positions of the level with a removed pixel; over others.
    correlation with local information: Spearman's, over an image's positions, with the local
      standard deviation (`maps.local_deviation`) of each modality averaged to the level's size,
      condition "level K, MODALITY"; NaN where either is constant.
    mean on objects: with truth; mean of g over positions at least half covered by objects that are
      "carried by visible" and so on, or by background.

  Holes larger than an image leave it out. Raises InputError for no samples.
  """
  require(samples)
  rows = []
  for sample in track(samples, f"gates of {subject.name}", "pair"):
    gates = _gates(subject, sample.pair)
    if not gates:
      return []
    row: dict = {}
    for level, gate in gates.items():
      row |= _level(level, gate, sample)
    rows.append(row | _movement(subject, sample, gates, seed))
  findings = tabulate(subject.name, "gates", rows)
  return findings + [_spread_between(f, rows) for f in findings if f.quantity == "mean"]


def pictures(subject: Subject, sample: Sample, seed: int = 0) -> dict[str, np.ndarray]:
  """The gates enlarged to the size of the image, uint8 [H, W]: 0 is g = 0, 255 is g = 1."""
  del seed  # nothing is drawn
  found = {}
  for level, gate in _gates(subject, sample.pair).items():
    rows, columns = (ops.resize_matrix(n, m) for n, m in zip(gate.shape, sample.size, strict=True))
    found[f"gate, {level}"] = maps.picture(rows @ gate @ columns.T)
  return found


def entropy(gate: np.ndarray) -> np.ndarray:
  """-(g ln g + (1 - g) ln(1 - g)) in nats, 0 at 0 and 1."""
  return -(special.xlogy(gate, gate) + special.xlog1py(1 - gate, -gate))


def _level(level: str, gate: np.ndarray, sample: Sample) -> Row:
  uncertain = entropy(gate).mean()
  row = {
    ("mean", level, None): gate.mean(),
    ("spread within images", level, None): gate.std(),
    ("entropy", level, None): uncertain,
    ("entropy share", level, None): uncertain / np.log(2),
  }
  counts, _ = np.histogram(gate, BINS, (0, 1))
  for index, count in enumerate(counts):
    row["histogram", level, (index + 0.5) / BINS] = count / gate.size
  if min(gate.shape) > maps.SIDE // 2:
    for modality in MODALITIES:
      image = maps.to_level(getattr(sample.pair, modality)[..., 0], gate.shape)
      correlation = maps.spearman(gate, maps.local_deviation(image))
      row["correlation with local information", f"{level}, {modality}", None] = correlation
  for region, where in sample.regions().items():
    covered = maps.to_level(where.astype(np.float64), gate.shape) >= 0.5
    row["mean on objects", f"{level}, {region}", None] = maps.mean_in(gate, covered)
  return row


def _movement(subject: Subject, sample: Sample, gates: dict[str, np.ndarray], seed: int) -> Row:
  row: dict = {}
  for name in DROPPED:
    moved = _gates(subject, treatments.drop(name, sample))
    for level, gate in gates.items():
      row["movement", f"{level}, {name}", None] = np.abs(moved[level] - gate).mean()
  for name in MASKED if treatments.fit(sample, treatments.MASKS) else ():
    treated = treatments.make_holes(name, sample, treatments.MASKS, seed)
    moved = _gates(subject, treated.pair)
    for level, gate in gates.items():
      change = np.abs(moved[level] - gate)
      inside = maps.to_level(treated.removed.astype(np.float64), gate.shape) > 0
      row["movement", f"{level}, {name}", None] = change.mean()
      row["movement inside holes", f"{level}, {name}", None] = maps.mean_in(change, inside)
      row["movement outside holes", f"{level}, {name}", None] = maps.mean_in(change, ~inside)
  return row


def _spread_between(mean: Finding, rows: Sequence[Row]) -> Finding:
  """The roots of the variance of the images' means, and of the ends of its interval."""
  count = len(rows)
  off = [row["mean", mean.condition, None] - mean.estimate.mean for row in rows]
  squares = [x**2 * count / (count - 1) if count > 1 else float("nan") for x in off]
  found = find(mean.model, "gates", "spread between images", mean.condition, squares)
  roots = np.sqrt(dataclasses.astuple(found.estimate)).tolist()
  return dataclasses.replace(found, estimate=Estimate(*roots))


def _gates(subject: Subject, pair: Pair) -> dict[str, np.ndarray]:
  """The gates [h, w] by "level K", finest first, in float64."""
  fusion = subject.details(Pair(pair.visible[None], pair.infrared[None]))
  return {
    f"level {number}": np.asarray(gate, np.float64)[0, ..., 0]
    for number, gate in enumerate(fusion.gates, 1)
  }
