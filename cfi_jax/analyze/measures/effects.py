"""How far interventions move the fused image: the average treatment effect, where and by dose.

F is the fused image of the pair, F(do) that of the treated pair, both in [0, 1]; |F(do) - F| is the
change of a pixel. The treatments are those of `treatments`: holes in both images (disjoint:
"complementary", or the same: "shared"), holes in one image only, or one image removed.

Every number is one value per image, averaged over images. The value of an image pools the pixels of
all mask draws on it, so it holds the noise of its masks, and the bootstrap over images covers
images and masks: resampling whole images estimates the variance of both together (Davison and
Hinkley 1997, section 3.8), while also resampling masks would count theirs twice.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from cfi_jax.analyze.measures import maps, treatments
from cfi_jax.analyze.measures.samples import Sample, require
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.analyze.measures.treatments import DROPPED, MASKED, ONE_SIDED
from cfi_jax.core.types import InputError
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.report.findings import Finding, Row, tabulate

# A ratio whose denominator is smaller, in units of the fused image per pixel, is undefined.
LEAST = 1 / 255


@dataclasses.dataclass(frozen=True)
class Options:
  """What is measured.

  masks: how holes are drawn. draws: how often, per image and treatment.
  sizes: the dose-response's sizes of holes in pixels, () for none; their number as in `masks`.
  counts: its numbers of holes, () for none; their size as in `masks`.
  thresholds: changes of a pixel, in (0, 1), whose share of the image is reported.
  window: side of the window of local information, in pixels (`maps.local_deviation`).
  seed: of the masks.
  """

  masks: MaskOptions = treatments.RELEASED_MASKS
  draws: int = 1
  sizes: tuple[int, ...] = (8, 16, 32, 64)
  counts: tuple[int, ...] = (1, 4, 16)
  thresholds: tuple[float, ...] = (1 / 255, 4 / 255, 16 / 255, 64 / 255)
  window: int = 7
  seed: int = 0

  def __post_init__(self):
    """Refuses what measures nothing."""
    limits = {"draws": (1, 100), "window": (2, 15), "seed": (0, 2**31 - 1)}
    for name, (low, high) in limits.items():
      if not low <= getattr(self, name) <= high:
        raise InputError(f"effects: {name} is {getattr(self, name)}; allowed: {low} to {high}")
    for name, high in (("sizes", 4096), ("counts", 256)):
      if not all(1 <= value <= high for value in getattr(self, name)):
        raise InputError(f"effects: {name} is {getattr(self, name)}; allowed: 1 to {high}")
    if not all(0 < value < 1 for value in self.thresholds):
      raise InputError(f"effects: thresholds is {self.thresholds}; allowed: above 0, below 1")


def analyse(
  subject: Subject, samples: Sequence[Sample], options: Options | None = None
) -> list[Finding]:
  """The effects of all treatments on a model, analysis "effects".

  By quantity (conditions are treatments unless said):
    effect: mean |F(do) - F| over the whole image.
    effect inside holes, effect outside holes: over the removed pixels; over the rest (spill-over).
    compensation: see `compensation`, of holes in one image only, with nothing on offer; 1: nothing
      was filled in, 0: all was.
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
  options = options or Options()
  bar = tqdm(samples, f"effects on {subject.name}", unit="pair", disable=None)
  return tabulate(subject.name, "effects", [_measure(subject, sample, options) for sample in bar])


def pictures(
  subject: Subject, sample: Sample, options: Options | None = None
) -> dict[str, np.ndarray]:
  """The change |F(do) - F| under each treatment, uint8 [H, W]: 0 is none, 255 is from 0 to 1."""
  options = options or Options()
  fused = _fuse(subject, sample.pair)
  treated = {
    name: treatments.make_holes(name, sample, options.masks, options.seed, 0).pair
    for name in MASKED
    if treatments.fit(sample, options.masks)
  }
  treated |= {name: treatments.drop(name, sample, options.masks.fill) for name in DROPPED}
  return {
    f"change: {name}": maps.picture(np.abs(_fuse(subject, pair) - fused))
    for name, pair in treated.items()
  }


def compensation(change: np.ndarray, dropped: np.ndarray, offered: np.ndarray | float = 0) -> float:
  """How far a model is from filling in holes: (sum c - sum o) / (sum d - sum o).

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


def _measure(subject: Subject, sample: Sample, options: Options) -> Row:
  fused = _fuse(subject, sample.pair)
  dropped = {
    name: np.abs(_fuse(subject, treatments.drop(name, sample, options.masks.fill)) - fused)
    for name in DROPPED
  }
  row: dict = {}
  for name, change in dropped.items():
    row["effect", name, None] = change.mean()
    row |= _necessity(name, change, sample, options)
  base = options.masks
  doses = [("", None, base)]
  doses += [(" by hole size", s, dataclasses.replace(base, size=(s, s))) for s in options.sizes]
  doses += [(" by hole count", n, dataclasses.replace(base, holes=(n, n))) for n in options.counts]
  by_modality = {DROPPED[name]: change for name, change in dropped.items()}
  for suffix, x, masks in doses:
    for (quantity, name), value in _holes(subject, sample, fused, by_modality, masks, options):
      if not suffix or quantity in ("effect", "effect inside holes", "compensation"):
        row[quantity + suffix, name, x] = value
  return row


def _holes(
  subject: Subject,
  sample: Sample,
  fused: np.ndarray,
  dropped: dict[str, np.ndarray],
  masks: MaskOptions,
  options: Options,
) -> Iterator[tuple[tuple[str, str], float]]:
  """((quantity, treatment), value) of every treatment with holes; dropped is by modality."""
  if not treatments.fit(sample, masks):
    return
  off = {m: np.abs(getattr(sample.pair, m)[..., 0] - fused) for m in MODALITIES}
  for name in MASKED:
    total, inside, where = 0.0, [], []
    for draw in range(options.draws):
      treated = treatments.make_holes(name, sample, masks, options.seed, draw)
      change = np.abs(_fuse(subject, treated.pair) - fused)
      total += change.sum()
      inside.append(change[treated.removed])
      where.append(np.flatnonzero(treated.removed))
    change, where = np.concatenate(inside), np.concatenate(where)
    pixels = options.draws * fused.size
    yield ("effect", name), total / pixels
    yield ("effect inside holes", name), _ratio(change.sum(), change.size)
    yield ("effect outside holes", name), _ratio(total - change.sum(), pixels - change.size)
    if name in ONE_SIDED:
      modality = ONE_SIDED[name]
      (remaining,) = (m for m in MODALITIES if m != modality)
      offers = {
        "compensation": np.zeros_like(fused),
        "compensation to the remaining source": off[remaining],
        "compensation to the better source": np.minimum(*off.values()),
      }
      lost = dropped[modality].ravel()[where]
      for quantity, offered in offers.items():
        yield (quantity, name), compensation(change, lost, offered.ravel()[where])


def _ratio(total: float, count: int) -> float:
  return float(total / count) if count else float("nan")


def _necessity(name: str, change: np.ndarray, sample: Sample, options: Options) -> Row:
  """Where and how much the fused image changes without one of the images."""
  image = getattr(sample.pair, DROPPED[name])[..., 0]
  information = maps.local_deviation(image, options.window)
  informative = information > np.quantile(information, 0.75)
  row = {
    ("necessity where informative", name, None): maps.mean_in(change, informative),
    ("necessity elsewhere", name, None): maps.mean_in(change, ~informative),
  }
  for threshold in options.thresholds:
    row["share changed by more than", name, threshold] = float(np.mean(change > threshold))
  for region, where in sample.regions().items():
    row["effect on objects", f"{name}, {region}", None] = maps.mean_in(change, where)
  return row


def _fuse(subject: Subject, pair: Pair) -> np.ndarray:
  """The fused image [H, W] in float64, so that sums over images are exact enough."""
  batch = Pair(pair.visible[None], pair.infrared[None])
  return np.asarray(subject.fuse(batch), np.float64)[0, ..., 0]
