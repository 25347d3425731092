"""Findings of a dissection, each a mean over seeds with an interval over seeds and images."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.features import spaces
from cfi_jax.features.spaces import Space
from cfi_jax.report import crossed
from cfi_jax.report.findings import Finding
from cfi_jax.study.dissect.dissection import APART, Dissection
from cfi_jax.study.dissect.measure import CARRIERS, GIVEN
from cfi_jax.systems.perception.model import MODALITIES

ANALYSIS = "dissect"
MIOU, LOST, SHARE = "mIoU", "right class lost", "contribution"
RIGHT, FOUND = "right class", "found"
KINDS = {RIGHT: "right", FOUND: "found"}  # shares of the objects' pixels, by field of `Look`
CKA, FLOOR, CEILING, CONSISTENT = "cka", "cka floor", "cka ceiling", "consistency"
SPECIFIC, SEMANTIC = "specificity", "semantic variance above null"
TWIN, OTHER_TWIN = "cka with the twin", "cka with the twin of another seed"
BY_STEP = ", by step"  # ends the name of a quantity whose x is the step of the training

# Findings by model, quantity, condition and x; None without x.
Findings = Mapping[tuple[str, str, str, float | None], Finding]
Draw = Callable[[int], np.ndarray]  # seed -> [1 + resamples]


def minus(quantity: str, other: str) -> str:
  """The quantity of a finding that is a difference to another model."""
  return f"{quantity}, minus {other}"


def find(own: Dissection, seeds: Sequence[int]) -> Findings:
  """Every finding; seeds: those that all rows have been looked at of."""
  images = len(own.scenes.samples.labels)
  found = {}
  for model, quantity, condition, x, draw in _all(own, seeds):
    estimate = crossed.combine(np.stack([draw(seed) for seed in seeds]))
    key = (model, quantity, condition, None if x is None else float(x))
    found[key] = Finding(
      model, ANALYSIS, quantity, condition, estimate, images * len(seeds),
      np.nan if x is None else x,
    )  # fmt: skip
  return found


# (model, quantity, condition, x, f(seed) -> [1 + resamples])
Numbers = Iterator[tuple[str, str, str, float | None, Draw]]


def _all(own: Dissection, seeds: Sequence[int]) -> Numbers:
  yield from _perceived(own)
  yield from _compared(own)
  yield from _contributions(own)
  yield from _across_modalities(own, seeds)
  yield from _meanings(own)
  yield from _twins(own, seeds)


def places(own: Dissection) -> dict[str, np.ndarray]:
  """Pixels by what carries their object, bool [classes, carriers]; all objects without truth."""
  count = len(own.study.train.classes.names)
  objects = np.arange(count)[:, None] > 0
  every = objects & np.ones(len(CARRIERS), bool)
  found = {"all objects": every}
  if own.scenes.has_carriers:
    for k, name in enumerate(CARRIERS):
      found[name] = every & (np.arange(len(CARRIERS)) == k)
  return found


def classes(own: Dissection) -> dict[str, np.ndarray]:
  """Pixels of each class, bool [classes, carriers]."""
  names = own.study.train.classes.names
  return {
    f"class {name}": (np.arange(len(names)) == k)[:, None] & np.ones(len(CARRIERS), bool)
    for k, name in enumerate(names)
  }


def _perceived(own: Dissection) -> Numbers:
  """Scores of every network, with and without each image, and by step."""
  last = own.last
  for row in own.study.order:
    for images in GIVEN[:3]:
      yield row, MIOU, images, None, lambda s, r=row, i=images: own.miou(r, s, last, i)
    for step in own.study.tests.steps:
      yield row, MIOU + BY_STEP, "both", step, lambda s, r=row, t=step: own.miou(r, s, t)
    for (name, kind), (place, where) in itertools.product(KINDS.items(), places(own).items()):

      def share(
        s: int, r: str = row, k: str = kind, w: np.ndarray = where, t: int = last
      ) -> np.ndarray:
        return own.share(k, r, s, t, w)

      yield row, name, place, None, share
      for step in own.study.tests.steps:
        yield row, name + BY_STEP, place, step, functools.partial(share, t=step)


def _compared(own: Dissection) -> Numbers:
  """Differences of scores: to the networks of one image, and of strategies to `special`."""
  last = own.last
  pairs = [(row, other) for row in own.study.joint for other in MODALITIES]
  if "special" in own.study.order:
    pairs += [("special", row) for row in own.study.strategies if row != "special"]
  for row, other in pairs:

    def miou(s: int, a: str = row, b: str = other) -> np.ndarray:
      return own.miou(a, s, last) - own.miou(b, s, last)

    yield row, minus(MIOU, other), "both", None, miou
    for (name, kind), (place, where) in itertools.product(KINDS.items(), places(own).items()):

      def share(
        s: int, a: str = row, b: str = other, k: str = kind, w: np.ndarray = where
      ) -> np.ndarray:
        return own.share(k, a, s, last, w) - own.share(k, b, s, last, w)

      yield row, minus(name, other), place, None, share


def _contributions(own: Dissection) -> Numbers:
  """Estimates the share of each image in the right class, and the loss without it."""
  for row in own.study.order:
    for place, where in (places(own) | classes(own)).items():
      for modality, left in zip(MODALITIES, MODALITIES[::-1], strict=True):

        def share(s: int, r: str = row, w: np.ndarray = where, m: str = modality) -> np.ndarray:
          return own.contribution(r, s, m, w)

        def lost(s: int, r: str = row, w: np.ndarray = where, k: str = left) -> np.ndarray:
          return own.share("right", r, s, own.last, w) - own.share("right", r, s, own.last, w, k)

        yield row, SHARE, f"{modality}, {place}", None, share
        yield row, LOST, f"without {modality}, {place}", None, lost


def _encoding(own: Dissection) -> list[tuple[str, int]]:
  """Networks with an encoder for each image, `APART` first, and how many levels both have."""
  found = []
  for row in (APART, *own.study.joint):
    levels = [k for m, k in own.encoders(row, own.study.seeds[0], own.last) if m == "visible"]
    if levels:
      found.append((row, max(levels)))
  return found


def _across_modalities(own: Dissection, seeds: Sequence[int]) -> Numbers:
  """Similarity, consistency and specificity of both encoders by level."""
  last, steps = own.last, own.study.tests.steps
  for row, levels in _encoding(own):
    for k in range(1, levels + 1):
      level = f"level {k}"
      yield row, CKA, level, None, lambda s, r=row, k=k: own.cka(r, s, last)[k]
      yield row, FLOOR, level, None, lambda s, r=row, k=k: own.floors(r, s)[k]
      for step in steps:
        yield row, CKA + BY_STEP, level, step, lambda s, r=row, k=k, t=step: own.cka(r, s, t)[k]
      if len(seeds) > 1:

        def consistent(s: int, r: str = row, k: int = k) -> np.ndarray:
          similar = {(("visible", k), ("infrared", k)): own.cka(r, s, last)[k]}
          ceilings = own.ceilings(r, s, seeds)
          pair = {m: ceilings[m] for m in (("visible", k), ("infrared", k))}
          return next(iter(spaces.consistency(similar, pair).values()))

        yield row, CONSISTENT, level, None, consistent
      if row != APART:

        def nearer(s: int, r: str = row, k: int = k) -> np.ndarray:
          return own.cka(r, s, last)[k] - own.cka(APART, s, last)[k]

        yield row, minus(CKA, APART), level, None, nearer
      for m in MODALITIES:
        space, name = (m, k), f"{m} {k}"

        def specific(s: int, r: str = row, a: Space = space, t: int = last) -> np.ndarray:
          return own.specificity(r, s, t)[a]

        yield row, SPECIFIC, name, None, specific
        for step in steps:
          yield row, SPECIFIC + BY_STEP, name, step, functools.partial(specific, t=step)
        if len(seeds) > 1:
          draw = lambda s, r=row, a=space: own.ceilings(r, s, seeds)[a]  # noqa: E731
          yield row, CEILING, name, None, draw
        if row != APART:

          def more(s: int, r: str = row, a: Space = space) -> np.ndarray:
            return own.specificity(r, s, last)[a] - own.specificity(APART, s, last)[a]

          yield row, minus(SPECIFIC, APART), name, None, more


def _meanings(own: Dissection) -> Numbers:
  """Semantic variance of every space at the last step, and by step."""
  for row in own.study.order:
    for space in own.look(row, own.study.seeds[0], own.last).features:
      name = f"{space[0]} {space[1]}"
      for step in own.study.tests.steps:
        draw = lambda s, r=row, a=space, t=step: own.semantics(r, s, t)[a]  # noqa: E731
        yield row, SEMANTIC + BY_STEP, name, step, draw
      yield row, SEMANTIC, name, None, draw


def _twins(own: Dissection, seeds: Sequence[int]) -> Numbers:
  """Estimates how far encoders of networks of both images are those of networks of one."""
  last = own.last
  for row, levels in _encoding(own)[1:]:
    for space in ((m, k) for m in MODALITIES for k in range(1, levels + 1)):
      name = f"{space[0]} {space[1]}"
      yield row, TWIN, name, None, lambda s, r=row, a=space: own.twins(r, s, s, last)[a]
      for step in own.study.tests.steps:
        draw = lambda s, r=row, a=space, t=step: own.twins(r, s, s, t)[a]  # noqa: E731
        yield row, TWIN + BY_STEP, name, step, draw
      if len(seeds) > 1:

        def others(s: int, r: str = row, a: Space = space) -> np.ndarray:
          return np.mean([own.twins(r, s, o, last)[a] for o in seeds if o != s], axis=0)

        def kept(s: int, r: str = row, a: Space = space) -> np.ndarray:
          return others(s, r, a) - own.ceilings(APART, s, seeds)[a]

        yield row, OTHER_TWIN, name, None, others
        yield row, minus(OTHER_TWIN, CEILING), name, None, kept
