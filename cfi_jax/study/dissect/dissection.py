"""Numbers of networks that were looked at, each with its values in resamples of the images.

A number of one network is an array [1 + resamples]: its value on all images, then in every resample
of them (`crossed.image_draws`); all networks share the resamples, so that differences are paired.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from cfi_jax.features import spaces
from cfi_jax.features.spaces import Space
from cfi_jax.metrics import segmentation
from cfi_jax.report import crossed
from cfi_jax.study.dissect.measure import GIVEN, Look, Looks, Scenes
from cfi_jax.study.dissect.settings import Study
from cfi_jax.study.grid import Run
from cfi_jax.systems.perception.model import MODALITIES

RESAMPLES = 400
PERMUTATIONS = 20  # of label maps for the null of the semantic variance, of which the mean counts
APART = "apart"  # the encoders of two networks of one image each, as if they were one network's


@dataclasses.dataclass(frozen=True, eq=False)
class Dissection:
  """All numbers of networks that were looked at; what is dear is computed once.

  looks: f(run) -> what was seen of it. weights: [1 + resamples, N].
  """

  study: Study
  scenes: Scenes
  looks: Callable[[Run], Looks]
  weights: np.ndarray

  @classmethod
  def of(cls, study: Study, scenes: Scenes, looks: Callable[[Run], Looks]) -> "Dissection":
    """The dissection of a study, with its resamples."""
    weights = crossed.image_draws(len(scenes.samples.labels), RESAMPLES)
    return cls(study, scenes, functools.cache(looks), weights)

  @property
  def last(self) -> int:
    """The last step."""
    return self.study.tests.steps[-1]

  def look(self, row: str, seed: int, step: int) -> Look:
    """One network at one step."""
    return self.looks((row, seed))[step]

  def encoders(self, row: str, seed: int, step: int) -> dict[Space, np.ndarray]:
    """Features of the encoders of one modality each, of a row or of the two networks `APART`."""
    rows = MODALITIES if row == APART else (row,)
    found = {}
    for each in rows:
      found |= self.look(each, seed, step).features
    return {space: x for space, x in found.items() if space[0] in MODALITIES}

  def miou(self, row: str, seed: int, step: int, images: str = "both") -> np.ndarray:
    """mIoU by the matrix of all images."""
    confusions = self.look(row, seed, step).confusions[:, GIVEN.index(images)]
    drawn = np.tensordot(self.weights, confusions, 1)
    found = segmentation.intersection_over_union(drawn)
    return np.nanmean(found[:, ~np.isnan(found[0])], axis=1)

  def share(
    self, kind: str, row: str, seed: int, step: int, where: np.ndarray, images: str = "both"
  ) -> np.ndarray:
    """Share of pixels that are "right" or "found"; where: bool [classes, carriers]."""
    own = self.look(row, seed, step)
    return self._share(getattr(own, kind)[:, GIVEN.index(images)], own, where)

  def contribution(self, row: str, seed: int, modality: str, where: np.ndarray) -> np.ndarray:
    """The Shapley value of an image for the probability of the right class.

    The mean of what it adds to the other image and of what it adds to none. Both images' sum to
    what both add to none; it is 0 for an image that the network ignores.
    """
    own = self.look(row, seed, self.last)
    (other,) = (m for m in MODALITIES if m != modality)
    alone, rest, both, none = (
      self._share(own.chance[:, GIVEN.index(images)], own, where)
      for images in (modality, other, "both", "neither")
    )
    return ((both - rest) + (alone - none)) / 2

  def _share(self, sums: np.ndarray, own: Look, where: np.ndarray) -> np.ndarray:
    """Sums over pixels [N, classes, carriers] by their number; NaN where there is none."""
    above, below = (self.weights @ (x * where).sum((1, 2)) for x in (sums, own.pixels))
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)

  @functools.cached_property
  def _kept(self) -> dict:
    return {}

  def once(self, key: tuple, make: Callable[[], dict]) -> dict:
    """Returns the value of `make`, which is computed the first time only."""
    if key not in self._kept:
      self._kept[key] = make()
    return self._kept[key]

  def cka(self, row: str, seed: int, step: int) -> dict[int, np.ndarray]:
    """CKA of both encoders by level."""

    def make() -> dict:
      own = self.encoders(row, seed, step)
      found = spaces.cka(own, spaces.across(own), self.weights, 0)
      return {a[1]: value for (a, _), value in found.items()}

    return self.once(("cka", row, seed, step), make)

  def floors(self, row: str, seed: int) -> dict[int, np.ndarray]:
    """The floor of `cka` at the last step, by level."""
    own = self.encoders(row, seed, self.last)

    def make() -> dict:
      found = spaces.cka_floors(own, self.weights, 0)
      return {a[1]: value for (a, _), value in found.items()}

    return self.once(("floor", row, seed), make)

  def ceilings(self, row: str, seed: int, seeds: Sequence[int]) -> dict[Space, np.ndarray]:
    """CKA of each encoder with that of other seeds at the last step, their mean."""
    own = self.encoders(row, seed, self.last)
    peers = [self.encoders(row, other, self.last) for other in seeds if other != seed]
    key = ("ceiling", row, seed, tuple(seeds))
    return self.once(key, lambda: spaces.cka_ceilings(own, peers, self.weights, 0))

  def specificity(self, row: str, seed: int, step: int) -> dict[Space, np.ndarray]:
    """Share of each encoder's variance that the other one does not predict."""
    own = self.encoders(row, seed, step)
    key = ("specificity", row, seed, step)
    return self.once(key, lambda: spaces.specificity(own, self.weights, 0))

  def semantics(self, row: str, seed: int, step: int) -> dict[Space, np.ndarray]:
    """Between-class share of the features' variance, without the mean of its null."""

    def make() -> dict:
      found = {}
      for space, values in self.look(row, seed, step).features.items():
        side = [n // 2 ** (space[1] - 1) for n in self.scenes.samples.labels.shape[1:]]
        labels = self.scenes.labels((side[0], side[1]))
        share = spaces.mean_of_defined(spaces.class_share(values, labels, self.weights))
        null = spaces.class_null(values, labels, 0, PERMUTATIONS)
        found[space] = share - spaces.mean_of_defined(null).mean()
      return found

    return self.once(("semantics", row, seed, step), make)

  def twins(self, row: str, seed: int, other: int, step: int) -> dict[Space, np.ndarray]:
    """CKA of each encoder with that of the network of its image alone, of the seed `other`."""

    def make() -> dict:
      own, twin = self.encoders(row, seed, step), self.encoders(APART, other, step)
      sets = {("own", s): x for s, x in own.items()} | {("twin", s): twin[s] for s in own}
      pairs = [(("own", s), ("twin", s)) for s in own]
      found = spaces.cka(sets, pairs, self.weights, 0)
      return {a[1]: value for (a, _), value in found.items()}

    return self.once(("twins", row, seed, other, step), make)
