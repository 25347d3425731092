"""What the invariance gates do: their level, how they move, and what they follow.

A gate g is in [0, 1] per pixel of a level: 0 takes the local sum of both modalities, 1 what they
attend to in one another. Conditions begin with "level K", 1 the finest.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from cfi_jax.analyze.measures import maps, treatments
from cfi_jax.analyze.measures.samples import Sample, require
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.measures.treatments import DROPPED, MASKED
from cfi_jax.core.types import InputError
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.images import ops
from cfi_jax.report.findings import Finding, Row, tabulate
from cfi_jax.report.summary import Estimate


@dataclasses.dataclass(frozen=True)
class Options:
  """What is measured.

  masks: how holes are drawn. draws: how often, per image and treatment. seed: of the masks.
  window: side of the window of local information, in pixels of the level.
  bins: of the histogram on [0, 1].
  """

  masks: MaskOptions = treatments.RELEASED_MASKS
  draws: int = 1
  window: int = 7
  bins: int = 20
  seed: int = 0

  def __post_init__(self):
    """Refuses what measures nothing."""
    limits = {"draws": (1, 100), "window": (2, 7), "bins": (1, 1000), "seed": (0, 2**31 - 1)}
    for name, (low, high) in limits.items():
      if not low <= getattr(self, name) <= high:
        raise InputError(f"gates: {name} is {getattr(self, name)}; allowed: {low} to {high}")


def analyse(
  subject: Subject, samples: Sequence[Sample], options: Options | None = None
) -> list[Finding]:
  """The gates of a model, analysis "gates"; nothing for a model without gates.

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
  options = options or Options()
  rows = []
  for sample in tqdm(samples, f"gates of {subject.name}", unit="pair", disable=None):
    row = _measure(subject, sample, options)
    if not row:
      return []
    rows.append(row)
  findings = tabulate(subject.name, "gates", rows)
  return [*findings, *_spreads_between(findings, rows)]


def pictures(
  subject: Subject, sample: Sample, options: Options | None = None
) -> dict[str, np.ndarray]:
  """The gates enlarged to the size of the image, uint8 [H, W]: 0 is g = 0, 255 is g = 1."""
  del options  # the gates of the pair itself: nothing to choose
  found = {}
  for number, gate in enumerate(_gates(subject, sample.pair), 1):
    rows, columns = (ops.resize_matrix(n, m) for n, m in zip(gate.shape, sample.size, strict=True))
    found[f"gate, level {number}"] = maps.picture(rows @ gate @ columns.T)
  return found


def entropy(gate: np.ndarray) -> np.ndarray:
  """-(g ln g + (1 - g) ln(1 - g)) in nats, 0 at 0 and 1."""
  inside = (gate > 0) & (gate < 1)
  p = np.where(inside, gate, 0.5)
  return np.where(inside, -(p * np.log(p) + (1 - p) * np.log1p(-p)), 0)


def _measure(subject: Subject, sample: Sample, options: Options) -> Row:
  gates = _gates(subject, sample.pair)
  row: dict = {}
  for number, gate in enumerate(gates, 1):
    row |= _level(f"level {number}", gate, sample, options)
  if gates:
    row |= _movement(subject, sample, gates, options)
  return row


def _level(level: str, gate: np.ndarray, sample: Sample, options: Options) -> Row:
  uncertain = entropy(gate).mean()
  row = {
    ("mean", level, None): gate.mean(),
    ("spread within images", level, None): gate.std(),
    ("entropy", level, None): uncertain,
    ("entropy share", level, None): uncertain / np.log(2),
  }
  counts, _ = np.histogram(gate, options.bins, (0, 1))
  for index, count in enumerate(counts):
    row["histogram", level, (index + 0.5) / options.bins] = count / gate.size
  for modality in MODALITIES:
    image = maps.to_level(getattr(sample.pair, modality)[..., 0], gate.shape)
    if min(gate.shape) > options.window // 2:
      information = maps.local_deviation(image, options.window)
      correlation = maps.spearman(gate, information)
      row["correlation with local information", f"{level}, {modality}", None] = correlation
  for region, where in sample.regions().items():
    covered = maps.to_level(where.astype(np.float64), gate.shape) >= 0.5
    row["mean on objects", f"{level}, {region}", None] = maps.mean_in(gate, covered)
  return row


def _movement(subject: Subject, sample: Sample, gates: list[np.ndarray], options: Options) -> Row:
  row: dict = {}
  for name in DROPPED:
    treated = _gates(subject, treatments.drop(name, sample, options.masks.fill))
    for number, (gate, moved) in enumerate(zip(gates, treated, strict=True), 1):
      row["movement", f"level {number}, {name}", None] = np.abs(moved - gate).mean()
  for name in MASKED if treatments.fit(sample, options.masks) else ():
    draws = [
      treatments.make_holes(name, sample, options.masks, options.seed, draw)
      for draw in range(options.draws)
    ]
    views = [_gates(subject, treated.pair) for treated in draws]
    for k, gate in enumerate(gates):
      change = np.stack([np.abs(view[k] - gate) for view in views])
      inside = np.stack(
        [maps.to_level(treated.removed.astype(np.float64), gate.shape) > 0 for treated in draws]
      )
      condition = f"level {k + 1}, {name}"
      row["movement", condition, None] = change.mean()
      row["movement inside holes", condition, None] = maps.mean_in(change, inside)
      row["movement outside holes", condition, None] = maps.mean_in(change, ~inside)
  return row


def _spreads_between(findings: Sequence[Finding], rows: Sequence[Row]) -> list[Finding]:
  """The roots of the variances of the images' means, and of the ends of their intervals."""
  count = len(rows)
  squares = [dict() for _ in rows]
  for finding in findings:
    key = ("mean", finding.condition, None)
    if finding.quantity == "mean":
      for row, square in zip(rows, squares, strict=True):
        deviation = row[key] - finding.estimate.mean
        scaled = deviation**2 * count / (count - 1) if count > 1 else float("nan")
        square["spread between images", finding.condition, None] = scaled
  return [
    dataclasses.replace(
      found, estimate=Estimate(*np.sqrt(dataclasses.astuple(found.estimate)).tolist())
    )
    for found in tabulate(findings[0].model, "gates", squares)
  ]


def _gates(subject: Subject, pair: Pair) -> list[np.ndarray]:
  """The gates [h, w], finest first, in float64."""
  fusion = subject.details(Pair(pair.visible[None], pair.infrared[None]))
  return [np.asarray(gate, np.float64)[0, ..., 0] for gate in fusion.gates]
