"""Feature spaces of networks: how alike, how much is shared, what classes they tell apart.

All definitions are ours but for CKA, see `similarity`. A statistic of images is an array [R] of its
values in R resamples, of which the first may be all images as they are (`resampling.draws`).
"""

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from cfi_jax.features import prediction, similarity
from cfi_jax.report.resampling import another

LEAST_CEILING = 0.1
SHUFFLES = 4  # pairings of each image with another for the floor of CKA
FOLDS = 5  # parts of the images for held-out prediction

Space = tuple[str, int]  # a modality's features at a level; level 1 is the finest
Features = Mapping[Space, np.ndarray]  # [N, P, C] each: places of images; C may differ
Name = TypeVar("Name", bound=Hashable)  # of a set of features: a space, or a network and a space


def across(spaces: Iterable[Space]) -> list[tuple[Space, Space]]:
  """Pairs of spaces of one level and two modalities."""
  return [(a, b) for a, b in itertools.combinations(spaces, 2) if a[1] == b[1]]


def cka(
  features: Mapping[Name, np.ndarray],
  pairs: Sequence[tuple[Name, Name]],
  weights: np.ndarray,
  seed: int,
) -> dict[tuple[Name, Name], np.ndarray]:
  """CKA of pairs of feature sets at the same places of the same images, [R] each.

  Args:
    features: [N, P, C] by name, C may differ. weights: whole numbers [R, N], see `draws`.
    seed: of the pixels that a batch of `similarity.hsic` holds.
  """
  own = _mixed(features, _order(features, seed))
  selves = [(name, name) for name in dict.fromkeys(itertools.chain(*pairs))]
  values = similarity.hsic({a: own[a] for a, _ in selves}, [*selves, *pairs], weights)
  return {(a, b): similarity.ratio(values[a, b], values[a, a], values[b, b]) for a, b in pairs}


def cka_floors(
  features: Features, weights: np.ndarray, seed: int
) -> dict[tuple[Space, Space], np.ndarray]:
  """CKA [R] of spaces of one level where the second is that of another image, same place.

  The mean over `SHUFFLES` pairings; each space's own variance is that of its images in order.
  """
  rng = np.random.default_rng(seed)
  pairs, order = across(features), _order(features, seed)
  if not pairs:
    return {}
  own = _mixed(features, order)
  selves = {name: (name, name) for name in dict.fromkeys(itertools.chain(*pairs))}
  values = similarity.hsic({a: own[a] for a in selves}, selves.values(), weights)
  sums = dict.fromkeys(pairs, 0.0)
  for _ in range(SHUFFLES):
    partner = another(len(order), rng)
    moved = _mixed({b: features[b][partner] for _, b in pairs}, order)
    sets = {("own", a): own[a] for a, _ in pairs} | {("moved", b): x for b, x in moved.items()}
    asked = {(a, b): (("own", a), ("moved", b)) for a, b in pairs}
    found = similarity.hsic(sets, asked.values(), weights)
    sums = {pair: total + found[asked[pair]] for pair, total in sums.items()}
  return {
    (a, b): similarity.ratio(total / SHUFFLES, values[a, a], values[b, b])
    for (a, b), total in sums.items()
  }


def cka_ceilings(
  features: Features, peers: Sequence[Features], weights: np.ndarray, seed: int
) -> dict[Space, np.ndarray]:
  """CKA [R] of each space with the same space of a peer, the mean over peers."""
  found: dict[Space, list[np.ndarray]] = {space: [] for space in features}
  for peer in peers:
    sets = {("own", s): x for s, x in features.items()} | {("peer", s): x for s, x in peer.items()}
    pairs = [(("own", s), ("peer", s)) for s in features]
    for (_, (_, space)), value in cka(sets, pairs, weights, seed).items():
      found[space].append(value)
  return {space: np.mean(values, axis=0) for space, values in found.items()}


def consistency(
  similar: Mapping[tuple[Space, Space], np.ndarray], ceilings: Mapping[Space, np.ndarray]
) -> dict[tuple[Space, Space], np.ndarray]:
  """CKA [R] of spaces of one level over the root of the product of their ceilings."""
  scales = {s: np.where(x >= LEAST_CEILING, x, np.nan) for s, x in ceilings.items()}
  return {
    (a, b): similarity.ratio(similar[a, b], scales[a], scales[b]) for a, b in across(ceilings)
  }


def _order(features: Mapping[Name, np.ndarray], seed: int) -> np.ndarray:
  """An order of its own of the places of each image, [N, P, 1].

  A batch [:, p] of features in this order holds one random pixel of each image, not the same place
  of all.
  """
  images, places = next(iter(features.values())).shape[:2]
  rng = np.random.default_rng(seed)
  return rng.permuted(np.tile(np.arange(places), (images, 1)), axis=1)[..., None]


def _mixed(features: Mapping[Name, np.ndarray], order: np.ndarray) -> dict[Name, np.ndarray]:
  """Features with the places of each image in the same order in all spaces."""
  return {space: np.take_along_axis(x, order, axis=1) for space, x in features.items()}


def specificity(features: Features, weights: np.ndarray, seed: int) -> dict[Space, np.ndarray]:
  """Share [R] of the variance of a space that the other one of its level does not predict."""
  images = weights.shape[1]
  folds = np.random.default_rng(seed).permutation(np.arange(images) % min(FOLDS, images))
  found = {}
  for a, b in across(features):
    for target, source in ((a, b), (b, a)):
      left, total = prediction.residuals(features[source], features[target], folds)
      drawn = weights @ total
      found[target] = (weights @ left) / np.where(drawn > 0, drawn, np.nan)
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


def class_null(values: np.ndarray, labels: np.ndarray, seed: int, permutations: int) -> np.ndarray:
  """`class_share` with the labels of other images, [permutations, C]."""
  rng = np.random.default_rng(seed)
  once = np.ones((1, len(values)))
  partners = [another(len(values), rng) for _ in range(permutations)]
  return np.stack([class_share(values, labels[partner], once)[0] for partner in partners])


def mean_of_defined(share: np.ndarray) -> np.ndarray:
  """Mean over the channels that vary; NaN where none does."""
  defined = np.isfinite(share)
  count = defined.sum(axis=1)
  return np.where(defined, share, 0).sum(axis=1) / np.where(count > 0, count, np.nan)
