"""Effects of interventions on the fused image: the average treatment effect, where and by dose.

F is the fused image of the pair, F(do) that of the treated pair, both in [0, 1]; |F(do) - F| is the
change of a pixel. The treatments are those of `treatments`: holes in both images (disjoint:
"complementary", or the same: "shared"), holes in one image only, or one image removed.

Every number is one value per image, averaged over images. The value of an image holds the noise of
its mask, so the bootstrap over images covers images and masks: resampling whole images estimates
the variance of both together (Davison and Hinkley 1997, section 3.8).
"""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from cfi_jax.analyze.measures import maps, treatments
from cfi_jax.analyze.measures.samples import Sample, require
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.measures.treatments import DROPPED, MASKED, ONE_SIDED
from cfi_jax.core.progress import track
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.report.findings import Finding, Row, tabulate

# A ratio whose denominator is smaller, in units of the fused image per pixel, is undefined.
LEAST = 1 / 255
SIZES = (8, 16, 32, 64)  # of the holes of the dose-response, in pixels
COUNTS = (1, 4, 16)  # of the holes of the dose-response
THRESHOLDS = (1 / 255, 4 / 255, 16 / 255, 64 / 255)  # changes of a pixel whose share is reported


def analyse(subject: Subject, samples: Sequence[Sample], seed: int = 0) -> list[Finding]:
  """The effects of all treatments on a model, analysis "effects"; seed: of the masks.

  By quantity (conditions are treatments unless said):
    effect: mean |F(do) - F| over the whole image.
    effect inside holes, effect outside holes: over the removed pixels; over the rest (spill-over).
    compensation: see `compensation`, of holes in one image only, with nothing on offer; 1: nothing
      was filled in, 0: all was.
    compensation, holes told: the same of a model that takes masks and is given those of the holes.
    compensation to the remaining source: the same with |S - F| on offer, S the image without holes;
      0: as near to F as a copy of S would be, negative: nearer.
    compensation to the better source: with min(|visible - F|, |infrared - F|) of each pixel.
    each of effect, effect inside holes, compensation, "by hole size" and "by hole count", x the
      size or count.
    necessity where informative, necessity elsewhere: mean |F(do) - F| where the local information
      of the removed image is in its highest quarter; over the rest.
    share changed by more than: of pixels, x the change.
    effect on objects: with truth; "without_visible, carried by infrared" and so on, and
      "background": mean |F(do) - F| over the pixels of objects that infrared alone carries.

  Holes larger than an image leave it out. Raises InputError for no samples.
  """
  require(samples)
  told = track(samples, f"effects on {subject.name}", "pair")
  return tabulate(subject.name, "effects", [_measure(subject, sample, seed) for sample in told])


def pictures(subject: Subject, sample: Sample, seed: int = 0) -> dict[str, np.ndarray]:
  """The change |F(do) - F| under each treatment, uint8 [H, W]: 0 is none, 255 is from 0 to 1."""
  fused = _fuse(subject, sample.pair)
  treated = {}
  if treatments.fit(sample, treatments.MASKS):
    holes = {n: treatments.make_holes(n, sample, treatments.MASKS, seed) for n in MASKED}
    treated = {name: made.pair for name, made in holes.items()}
  treated |= {name: treatments.drop(name, sample) for name in DROPPED}
  return {
    f"change: {name}": maps.picture(np.abs(_fuse(subject, pair) - fused))
    for name, pair in treated.items()
  }


def compensation(change: np.ndarray, dropped: np.ndarray, offered: np.ndarray | float = 0) -> float:
  """The distance of a model from filling in holes: (sum c - sum o) / (sum d - sum o).

  change: c = |F(hole) - F| at the pixels of holes in one modality, [N].
  dropped: d = |F(drop) - F| at the same pixels where that whole modality is removed.
  offered: o, the distance from F of the best filling that is on offer there.

  1: the hole looks as if the modality were lacking altogether; 0: as good as what is on offer. NaN
  where the denominator is below `LEAST` per pixel: there dropping the modality changes too little,
  or no more than what is on offer does.
  """
  offered = np.broadcast_to(offered, change.shape)
  scale = np.sum(dropped - offered)
  if not change.size or scale < LEAST * change.size:
    return float("nan")
  return float(np.sum(change - offered) / scale)


def _measure(subject: Subject, sample: Sample, seed: int) -> Row:
  fused = _fuse(subject, sample.pair)
  row: dict = {}
  dropped = {}
  for name, modality in DROPPED.items():
    change = np.abs(_fuse(subject, treatments.drop(name, sample)) - fused)
    row["effect", name, None] = change.mean()
    row |= _necessity(name, change, sample)
    dropped[modality] = change
  base = treatments.MASKS
  doses = [("", None, base)]
  doses += [(" by hole size", s, dataclasses.replace(base, size=(s, s))) for s in SIZES]
  doses += [(" by hole count", n, dataclasses.replace(base, holes=(n, n))) for n in COUNTS]
  for suffix, x, masks in doses:
    for quantity, name, value in _holes(subject, sample, fused, dropped, masks, seed):
      if not suffix or quantity in ("effect", "effect inside holes", "compensation"):
        row[quantity + suffix, name, x] = value
  return row


def _holes(
  subject: Subject,
  sample: Sample,
  fused: np.ndarray,
  dropped: dict[str, np.ndarray],
  masks: MaskOptions,
  seed: int,
) -> Iterator[tuple[str, str, float]]:
  """(quantity, treatment, value) of every treatment with holes; dropped is by modality."""
  if not treatments.fit(sample, masks):
    return
  off = {m: np.abs(getattr(sample.pair, m)[..., 0] - fused) for m in MODALITIES}
  for name in MASKED:
    treated = treatments.make_holes(name, sample, masks, seed)
    where = treated.removed
    change = np.abs(_fuse(subject, treated.pair) - fused)
    total, inside = change.sum(), change[where]
    yield "effect", name, total / fused.size
    yield "effect inside holes", name, maps.ratio(inside.sum(), inside.size)
    yield "effect outside holes", name, maps.ratio(total - inside.sum(), fused.size - inside.size)
    if name in ONE_SIDED:
      modality = ONE_SIDED[name]
      (remaining,) = (m for m in MODALITIES if m != modality)
      if subject.fuse_told is not None:
        told = np.abs(_fuse(subject, treated.pair, treated.kept) - fused)[where]
        yield "compensation, holes told", name, compensation(told, dropped[modality][where])
      offers = {
        "compensation": np.zeros_like(fused),
        "compensation to the remaining source": off[remaining],
        "compensation to the better source": np.minimum(*off.values()),
      }
      for quantity, offered in offers.items():
        yield quantity, name, compensation(inside, dropped[modality][where], offered[where])


def _necessity(name: str, change: np.ndarray, sample: Sample) -> Row:
  """Numbers on where and how much the fused image changes without one of the images."""
  information = maps.local_deviation(getattr(sample.pair, DROPPED[name])[..., 0])
  informative = information > np.quantile(information, 0.75)
  row = {
    ("necessity where informative", name, None): maps.mean_in(change, informative),
    ("necessity elsewhere", name, None): maps.mean_in(change, ~informative),
  }
  for threshold in THRESHOLDS:
    row["share changed by more than", name, threshold] = float(np.mean(change > threshold))
  for region, where in sample.regions().items():
    row["effect on objects", f"{name}, {region}", None] = maps.mean_in(change, where)
  return row


def _fuse(subject: Subject, pair: Pair, valid: Pair | None = None) -> np.ndarray:
  """The fused image [H, W] in float64, so that sums over images are exact enough.

  valid: pixels that have a value, which the subject is told; None: nothing is told.
  """
  batch, told = (jax.tree.map(lambda x: x[None], images) for images in (pair, valid))
  fused = subject.fuse(batch) if valid is None else subject.fuse_told(batch, told)
  return np.asarray(fused, np.float64)[0, ..., 0]
