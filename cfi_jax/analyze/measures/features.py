"""Features of each modality: how alike they are, how much is shared, what classes they tell apart.

After the questions of "Interpretation on Multi-modal Visual Fusion" (arXiv 2308.10019), whose
formulas are not public to us: all definitions here are ours. Images are the units of every
interval: pixels of one image are no independent samples.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from cfi_jax.analyze.measures.observations import Observations
from cfi_jax.core.types import InputError
from cfi_jax.features.spaces import (
  Features,
  Space,
  cka,
  cka_ceilings,
  cka_floors,
  class_null,
  class_share,
  consistency,
  mean_of_defined,
  specificity,
)
from cfi_jax.report.estimates import LEVEL, TAILS, UNDEFINED, Estimate
from cfi_jax.report.findings import Finding
from cfi_jax.report.resampling import draws, interval

LEAST_IMAGES = 4  # for the unbiased HSIC
PERMUTATIONS = 100  # of the label maps among the images for the null of the semantic variance
RESAMPLES = 400  # of the bootstrap over images

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


def _similarities(
  features: Features, peers: Sequence[Features], weights: np.ndarray, seed: int
) -> Numbers:
  """The findings cka, its floor and ceiling, and consistency."""
  images = weights.shape[1]
  similar = cka(features, list(itertools.combinations(features, 2)), weights, seed)
  for (a, b), value in similar.items():
    yield "cka", _pair(a, b), interval(value), images
  for (a, b), value in cka_floors(features, weights, seed).items():
    yield "cka floor", _pair(a, b), interval(value), images
  if not peers:
    return
  ceilings = cka_ceilings(features, peers, weights, seed)
  for space, value in ceilings.items():
    yield "cka ceiling", _space(space), interval(value), images
  for (a, _), value in consistency(similar, ceilings).items():
    yield "consistency", f"level {a[1]}", interval(value), images


def _specificities(features: Features, weights: np.ndarray, seed: int) -> Numbers:
  """The findings of specificity."""
  for space, values in specificity(features, weights, seed).items():
    yield "specificity", _space(space), interval(values), weights.shape[1]


def _semantics(observed: Observations, weights: np.ndarray, seed: int) -> Numbers:
  """The findings of the semantic variance; none without label maps."""
  images = weights.shape[1]
  for space, values in observed.features.items():
    if space[1] not in observed.labels:
      continue
    labels = observed.labels[space[1]]
    share = class_share(values, labels, weights)
    null = class_null(values, labels, seed, PERMUTATIONS)
    condition = _space(space)
    yield "semantic variance", condition, interval(mean_of_defined(share)), images
    yield "semantic variance null", condition, _spread(null), PERMUTATIONS
    limit = np.quantile(null, (1 + LEVEL) / 2, axis=0)
    defined = np.isfinite(share[0])
    selective = float((share[0] > limit)[defined].mean()) if defined.any() else math.nan
    estimate = Estimate(selective, math.nan, math.nan)
    yield "selective channels", condition, estimate, int(defined.sum())
    for channel, column in enumerate(share.T):
      yield "semantic variance of channel", condition, interval(column), images, channel


def _spread(null: np.ndarray) -> Estimate:
  """Mean over channels: its mean and the range of 95 % of the permutations."""
  means = mean_of_defined(null)
  if not np.isfinite(means).all():
    return UNDEFINED
  return Estimate(float(means.mean()), *map(float, np.quantile(means, TAILS)))
