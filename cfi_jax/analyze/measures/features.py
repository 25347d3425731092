"""What the features of each modality hold, and how much of it is the other modality's, too.

After the questions of "Interpretation on Multi-modal Visual Fusion" (arXiv 2308.10019), whose
formulas are not public to us: all definitions here are ours. Images are the units of every
interval: pixels of one image are no independent samples.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from cfi_jax.analyze.measures import prediction, similarity
from cfi_jax.analyze.measures.observations import Observations, Space
from cfi_jax.core.types import InputError
from cfi_jax.report.findings import Finding
from cfi_jax.report.resampling import another, draws, interval
from cfi_jax.report.summary import LEVEL, Estimate

ANALYSIS = "features"
LEAST_IMAGES = 4  # for the unbiased HSIC
LEAST_CEILING = 0.1
_NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Options:
  """How features are compared.

  places: pixels taken of each image. shuffles: pairings of each image with another for the floor of
  CKA. permutations: of the label maps among the images for the null of the semantic variance.
  folds: parts of the images for held-out prediction. resamples: of the bootstrap over images.
  seed: of the places, pairings, permutations, folds and resamples.
  """

  places: int = 256
  shuffles: int = 4
  permutations: int = 100
  folds: int = 5
  resamples: int = 400
  seed: int = 0

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    least = {"places": 1, "shuffles": 1, "permutations": 1, "folds": 3, "resamples": 1, "seed": 0}
    for name, low in least.items():
      value = getattr(self, name)
      if type(value) is not int or not low <= value < 2**31:
        raise InputError(f"features: {name} is {value!r}; allowed: a whole number from {low}")


def analyse(
  name: str,
  observed: Observations,
  options: Options = Options(),
  peers: Sequence[Observations] = (),
) -> list[Finding]:
  """The findings of one model; none where it returns no features.

  Spaces are written "visible 1": a modality and a level, of which 1 is the finest.
    cka: similarity of two spaces, "visible 1 ~ infrared 1"; see `similarity`. 1: equal but for a
      rotation and one factor; 0: unrelated.
    cka floor: of spaces of one level, the second of them taken at the same place of another image:
      what place alone explains.
    cka ceiling: of a space and the same space of a peer, mean over peers: what another training
      leaves of it.
    consistency: "level 1", cka of its spaces / sqrt(product of their ceilings), as correlations are
      corrected for attenuation; it may exceed 1. NaN where a ceiling is below `LEAST_CEILING`:
      trainings that have nothing in common are no scale.
    specificity: "visible 1", share of the variance of a space that the other modality's space of
      the level does not predict linearly on held-out images; see `prediction`. The interval is of
      the images predicted, with the fits as they are.
    semantic variance: "visible 1", between-class share of the variance of a channel, pooled over
      places and images; the mean over channels. semantic variance of channel: x is the channel.
    semantic variance null: the same with the label map of another image (shapes and layout stay,
      the objects behind them do not); the interval holds 95 % of the permutations.
    selective channels: share of the channels whose semantic variance exceeds 97.5 % of their null;
      1/40 by chance.

  Args:
    peers: models of the same architecture observed at the same places of the same images, trained
      like this one from another seed; without any there is no ceiling and no consistency.

  Raises:
    InputError: fewer than four images.
  """
  if not observed.features:
    return []
  images = len(next(iter(observed.features.values())))
  if images < LEAST_IMAGES:
    raise InputError(f"features need {LEAST_IMAGES} pairs of images or more; {images} given")
  weights = draws(images, options.resamples, options.seed)
  found = _similarities(name, observed, options, peers, weights)
  found += _specificities(name, observed, options, weights)
  return found + _semantics(name, observed, options, weights)


def space_name(space: Space) -> str:
  """Such as "visible 1"."""
  return f"{space[0]} {space[1]}"


def pair_name(first: Space, second: Space) -> str:
  """Such as "visible 1 ~ infrared 1"."""
  return f"{space_name(first)} ~ {space_name(second)}"


def _across(spaces: Mapping[Space, np.ndarray]) -> list[tuple[Space, Space]]:
  """Pairs of spaces of one level and two modalities."""
  pairs = itertools.combinations(spaces, 2)
  return [(a, b) for a, b in pairs if a[1] == b[1] and a[0] != b[0]]


def _finding(
  name: str, quantity: str, condition: str, estimate: Estimate, samples: int, x: float = _NAN
) -> Finding:
  return Finding(name, ANALYSIS, quantity, condition, estimate, samples, x)


def _similarities(name, observed, options, peers, weights) -> list[Finding]:
  """cka, its floor and ceiling, consistency."""
  own = _mixed(observed.features, options)
  pairs = list(itertools.combinations(own, 2))
  values = similarity.hsic(own, [*((a, a) for a in own), *pairs], weights)
  selves = {a: values[a, a] for a in own}
  cka = {(a, b): similarity.ratio(values[a, b], selves[a], selves[b]) for a, b in pairs}
  images = weights.shape[1]
  found = [_finding(name, "cka", pair_name(a, b), interval(v), images) for (a, b), v in cka.items()]
  for (a, b), floor in _floors(observed.features, own, options, weights).items():
    estimate = interval(similarity.ratio(floor, selves[a], selves[b]))
    found.append(_finding(name, "cka floor", pair_name(a, b), estimate, images))
  if not peers:
    return found
  drawn = [_ceilings(own, selves, _mixed(p.features, options), weights) for p in peers]
  ceilings = {space: np.mean([each[space] for each in drawn], axis=0) for space in own}
  for space, values in ceilings.items():
    found.append(_finding(name, "cka ceiling", space_name(space), interval(values), images))
  scales = {s: np.where(c >= LEAST_CEILING, c, np.nan) for s, c in ceilings.items()}
  for a, b in _across(own):
    estimate = interval(similarity.ratio(cka[a, b], scales[a], scales[b]))
    condition = pair_name(a, b) if len({s[0] for s in own}) > 2 else f"level {a[1]}"
    found.append(_finding(name, "consistency", condition, estimate, images))
  return found


def _mixed(features: Mapping[Space, np.ndarray], options: Options) -> dict[Space, np.ndarray]:
  """Features with the places of each image in an order of its own, the same in all spaces.

  A batch [:, p] then holds one random pixel of each image, not the same place of all.
  """
  images, places = next(iter(features.values())).shape[:2]
  order = _order(images, places, options)
  return {space: np.take_along_axis(x, order, axis=1) for space, x in features.items()}


def _order(images: int, places: int, options: Options) -> np.ndarray:
  """Order of the places of each image, [N, P, 1]."""
  rng = np.random.default_rng(options.seed)
  return rng.permuted(np.tile(np.arange(places), (images, 1)), axis=1)[..., None]


def _floors(features, own, options, weights) -> dict[tuple[Space, Space], np.ndarray]:
  """HSIC of spaces of one level where the second is that of another image, same place."""
  images, places = next(iter(features.values())).shape[:2]
  order = _order(images, places, options)
  rng = np.random.default_rng(options.seed)
  pairs = _across(features)
  sums = dict.fromkeys(pairs, 0.0)
  for _ in range(options.shuffles):
    partner = another(images, rng)
    moved = {b: np.take_along_axis(features[b][partner], order, axis=1) for _, b in pairs}
    sets = {("own", a): own[a] for a, _ in pairs} | {("moved", b): x for b, x in moved.items()}
    asked = {(a, b): (("own", a), ("moved", b)) for a, b in pairs}
    values = similarity.hsic(sets, asked.values(), weights) if pairs else {}
    sums = {pair: total + values[asked[pair]] for pair, total in sums.items()}
  return {pair: total / options.shuffles for pair, total in sums.items()}


def _ceilings(own, selves, other, weights) -> dict[Space, np.ndarray]:
  """CKA [R] of each space with the same space of a peer."""
  sets = {("own", s): x for s, x in own.items()} | {("peer", s): x for s, x in other.items()}
  crossed = {s: (("own", s), ("peer", s)) for s in own}
  repeated = {s: (("peer", s), ("peer", s)) for s in own}
  values = similarity.hsic(sets, [*crossed.values(), *repeated.values()], weights)
  return {s: similarity.ratio(values[crossed[s]], selves[s], values[repeated[s]]) for s in own}


def _specificities(name, observed, options, weights) -> list[Finding]:
  images = weights.shape[1]
  rng = np.random.default_rng(options.seed)
  folds = rng.permutation(np.arange(images) % min(options.folds, images))
  found = []
  for a, b in _across(observed.features):
    for target, source in ((a, b), (b, a)):
      left, total = prediction.residuals(
        observed.features[source], observed.features[target], folds
      )
      drawn = weights @ total
      values = (weights @ left) / np.where(drawn > 0, drawn, np.nan)
      condition = space_name(target)
      if len({s[0] for s in observed.features}) > 2:
        condition += f" from {source[0]}"
      found.append(_finding(name, "specificity", condition, interval(values), images))
  return found


def _semantics(name, observed, options, weights) -> list[Finding]:
  """Findings of the semantic variance; none without label maps."""
  images = weights.shape[1]
  found = []
  for space, values in observed.features.items():
    if space[1] not in observed.labels:
      continue
    labels = observed.labels[space[1]]
    share = class_share(values, labels, weights)
    null = _null(values, labels, options)
    means = _mean_of_defined(share)
    condition = space_name(space)
    found.append(_finding(name, "semantic variance", condition, interval(means), images))
    found.append(
      _finding(name, "semantic variance null", condition, _spread(null), options.permutations)
    )
    limit = np.quantile(null, (1 + LEVEL) / 2, axis=0)
    defined = np.isfinite(share[0])
    selective = float((share[0] > limit)[defined].mean()) if defined.any() else _NAN
    estimate = Estimate(selective, _NAN, _NAN)
    found.append(_finding(name, "selective channels", condition, estimate, int(defined.sum())))
    for channel, column in enumerate(share.T):
      quantity = "semantic variance of channel"
      found.append(_finding(name, quantity, condition, interval(column), images, channel))
  return found


def class_share(values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Between-class share of the variance of each channel, [R, C]; NaN where it does not vary.

  sum_c n_c (mean_c - mean)^2 / sum (value - mean)^2 over all places of all images, in which image i
  counts weights[r, i] times (the correlation ratio, eta squared).

  Args:
    values: [N, P, C]. labels: [N, P], from 0. weights: [R, N].
  """
  values = values.astype(np.float64) - values.mean(axis=(0, 1), dtype=np.float64)
  member = (labels[..., None] == np.arange(labels.max() + 1)).astype(np.float64)
  counts = weights @ member.sum(axis=1)  # [R, K]
  sums = np.einsum("npk,npc->nkc", member, values, optimize=True)
  sums = np.einsum("rn,nkc->rkc", weights, sums, optimize=True)
  squares = weights @ (values**2).sum(axis=1)
  centre = sums.sum(axis=1) ** 2 / counts.sum(axis=1, keepdims=True)
  between = (sums**2 / np.maximum(counts, 1)[..., None]).sum(axis=1) - centre
  total = squares - centre
  varies = total > 1e-12 * np.maximum(squares, 1e-300)
  return np.where(varies, between, np.nan) / np.where(varies, total, 1)


def _null(values: np.ndarray, labels: np.ndarray, options: Options) -> np.ndarray:
  """`class_share` with the labels of other images, [permutations, C]."""
  rng = np.random.default_rng(options.seed)
  once = np.ones((1, len(values)))
  shares = [
    class_share(values, labels[another(len(values), rng)], once)[0]
    for _ in range(options.permutations)
  ]
  return np.stack(shares)


def _mean_of_defined(share: np.ndarray) -> np.ndarray:
  """Mean over the channels that vary; NaN where none does."""
  defined = np.isfinite(share)
  count = defined.sum(axis=1)
  return np.where(defined, share, 0).sum(axis=1) / np.where(count > 0, count, np.nan)


def _spread(null: np.ndarray) -> Estimate:
  """Mean over channels: its mean and the range of 95 % of the permutations."""
  means = _mean_of_defined(null)
  tail = (1 - LEVEL) / 2
  if not np.isfinite(means).all():
    return Estimate(_NAN, _NAN, _NAN)
  return Estimate(float(means.mean()), *map(float, np.quantile(means, [tail, 1 - tail])))
