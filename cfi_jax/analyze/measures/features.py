"""Features of each modality: how alike they are, how much is shared, what classes they tell apart.

After the questions of "Interpretation on Multi-modal Visual Fusion" (arXiv 2308.10019), whose
formulas are not public to us: all definitions here are ours. Images are the units of every
interval: pixels of one image are no independent samples.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.analyze.measures import prediction, similarity
from cfi_jax.analyze.measures.observations import Observations, Space
from cfi_jax.core.types import InputError
from cfi_jax.report.estimates import LEVEL, TAILS, UNDEFINED, Estimate
from cfi_jax.report.findings import Finding
from cfi_jax.report.resampling import another, draws, interval

LEAST_IMAGES = 4  # for the unbiased HSIC
LEAST_CEILING = 0.1
SHUFFLES = 4  # pairings of each image with another for the floor of CKA
PERMUTATIONS = 100  # of the label maps among the images for the null of the semantic variance
FOLDS = 5  # parts of the images for held-out prediction
RESAMPLES = 400  # of the bootstrap over images

Features = Mapping[Space, np.ndarray]
# (quantity, condition, estimate, samples) and, for a curve, x.
Numbers = Iterator[tuple]


def analyse(
  name: str, observed: Observations, seed: int = 0, peers: Sequence[Observations] = ()
) -> list[Finding]:
  """The findings of one model; none where it returns no features.

  Spaces are written "visible 1": a modality and a level, of which 1 is the finest.
    cka: similarity of two spaces, "visible 1 ~ infrared 1"; see `similarity`. 1: equal but for a
      rotation and one factor; 0: unrelated.
    cka floor: of spaces of one level, the second of them taken at the same place of another image:
      the part that place alone explains.
    cka ceiling: of a space and the same space of a peer, mean over peers: the part that another
      training leaves.
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
    seed: of the pairings, permutations, folds and resamples.
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
  weights = draws(images, RESAMPLES, seed)
  numbers = itertools.chain(
    _similarities(observed.features, [peer.features for peer in peers], weights, seed),
    _specificities(observed.features, weights, seed),
    _semantics(observed, weights, seed),
  )
  return [Finding(name, "features", *number) for number in numbers]


def _space(space: Space) -> str:
  return f"{space[0]} {space[1]}"


def _pair(first: Space, second: Space) -> str:
  return f"{_space(first)} ~ {_space(second)}"


def _across(spaces: Features) -> list[tuple[Space, Space]]:
  """Pairs of spaces of one level and two modalities."""
  return [(a, b) for a, b in itertools.combinations(spaces, 2) if a[1] == b[1]]


def _similarities(
  features: Features, peers: Sequence[Features], weights: np.ndarray, seed: int
) -> Numbers:
  """The findings cka, its floor and ceiling, and consistency."""
  order = _order(features, seed)
  own = _mixed(features, order)
  pairs = list(itertools.combinations(own, 2))
  values = similarity.hsic(own, [*((a, a) for a in own), *pairs], weights)
  selves = {a: values[a, a] for a in own}
  cka = {(a, b): similarity.ratio(values[a, b], selves[a], selves[b]) for a, b in pairs}
  images = weights.shape[1]
  for (a, b), value in cka.items():
    yield "cka", _pair(a, b), interval(value), images
  for (a, b), floor in _floors(features, own, order, weights, seed).items():
    value = similarity.ratio(floor, selves[a], selves[b])
    yield "cka floor", _pair(a, b), interval(value), images
  if not peers:
    return
  drawn = [_ceilings(own, selves, _mixed(peer, order), weights) for peer in peers]
  scales = {}
  for space in own:
    ceiling = np.mean([each[space] for each in drawn], axis=0)
    yield "cka ceiling", _space(space), interval(ceiling), images
    scales[space] = np.where(ceiling >= LEAST_CEILING, ceiling, np.nan)
  for a, b in _across(own):
    value = similarity.ratio(cka[a, b], scales[a], scales[b])
    yield "consistency", f"level {a[1]}", interval(value), images


def _order(features: Features, seed: int) -> np.ndarray:
  """An order of its own of the places of each image, [N, P, 1].

  A batch [:, p] of features in this order holds one random pixel of each image, not the same place
  of all.
  """
  images, places = next(iter(features.values())).shape[:2]
  rng = np.random.default_rng(seed)
  return rng.permuted(np.tile(np.arange(places), (images, 1)), axis=1)[..., None]


def _mixed(features: Features, order: np.ndarray) -> dict[Space, np.ndarray]:
  """Features with the places of each image in the same order in all spaces."""
  return {space: np.take_along_axis(x, order, axis=1) for space, x in features.items()}


def _floors(
  features: Features, own: Features, order: np.ndarray, weights: np.ndarray, seed: int
) -> dict[tuple[Space, Space], np.ndarray]:
  """HSIC of spaces of one level where the second is that of another image, same place."""
  rng = np.random.default_rng(seed)
  pairs = _across(features)
  sums = dict.fromkeys(pairs, 0.0)
  for _ in range(SHUFFLES if pairs else 0):
    partner = another(len(order), rng)
    moved = _mixed({b: features[b][partner] for _, b in pairs}, order)
    sets = {("own", a): own[a] for a, _ in pairs} | {("moved", b): x for b, x in moved.items()}
    asked = {(a, b): (("own", a), ("moved", b)) for a, b in pairs}
    values = similarity.hsic(sets, asked.values(), weights)
    sums = {pair: total + values[asked[pair]] for pair, total in sums.items()}
  return {pair: total / SHUFFLES for pair, total in sums.items()}


def _ceilings(
  own: Features, selves: Features, other: Features, weights: np.ndarray
) -> dict[Space, np.ndarray]:
  """CKA [R] of each space with the same space of a peer."""
  sets = {("own", s): x for s, x in own.items()} | {("peer", s): x for s, x in other.items()}
  crossed = {s: (("own", s), ("peer", s)) for s in own}
  repeated = {s: (("peer", s), ("peer", s)) for s in own}
  values = similarity.hsic(sets, [*crossed.values(), *repeated.values()], weights)
  return {s: similarity.ratio(values[crossed[s]], selves[s], values[repeated[s]]) for s in own}


def _specificities(features: Features, weights: np.ndarray, seed: int) -> Numbers:
  """The findings of specificity."""
  images = weights.shape[1]
  folds = np.random.default_rng(seed).permutation(np.arange(images) % min(FOLDS, images))
  for a, b in _across(features):
    for target, source in ((a, b), (b, a)):
      left, total = prediction.residuals(features[source], features[target], folds)
      drawn = weights @ total
      values = (weights @ left) / np.where(drawn > 0, drawn, np.nan)
      yield "specificity", _space(target), interval(values), images


def _semantics(observed: Observations, weights: np.ndarray, seed: int) -> Numbers:
  """The findings of the semantic variance; none without label maps."""
  images = weights.shape[1]
  for space, values in observed.features.items():
    if space[1] not in observed.labels:
      continue
    labels = observed.labels[space[1]]
    share, null = class_share(values, labels, weights), _null(values, labels, seed)
    condition = _space(space)
    yield "semantic variance", condition, interval(_mean_of_defined(share)), images
    yield "semantic variance null", condition, _spread(null), PERMUTATIONS
    limit = np.quantile(null, (1 + LEVEL) / 2, axis=0)
    defined = np.isfinite(share[0])
    selective = float((share[0] > limit)[defined].mean()) if defined.any() else math.nan
    estimate = Estimate(selective, math.nan, math.nan)
    yield "selective channels", condition, estimate, int(defined.sum())
    for channel, column in enumerate(share.T):
      yield "semantic variance of channel", condition, interval(column), images, channel


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


def _null(values: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
  """`class_share` with the labels of other images, [permutations, C]."""
  rng = np.random.default_rng(seed)
  once = np.ones((1, len(values)))
  partners = [another(len(values), rng) for _ in range(PERMUTATIONS)]
  return np.stack([class_share(values, labels[partner], once)[0] for partner in partners])


def _mean_of_defined(share: np.ndarray) -> np.ndarray:
  """Mean over the channels that vary; NaN where none does."""
  defined = np.isfinite(share)
  count = defined.sum(axis=1)
  return np.where(defined, share, 0).sum(axis=1) / np.where(count > 0, count, np.nan)


def _spread(null: np.ndarray) -> Estimate:
  """Mean over channels: its mean and the range of 95 % of the permutations."""
  means = _mean_of_defined(null)
  if not np.isfinite(means).all():
    return UNDEFINED
  return Estimate(float(means.mean()), *map(float, np.quantile(means, TAILS)))
