"""The parts of an analysis by name, and the models that they are done for."""

import dataclasses
import functools
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence

from cfi_jax.analyze.inputs import Inputs
from cfi_jax.analyze.measures import contribution, effects, features, gates
from cfi_jax.analyze.measures.observations import observe
from cfi_jax.analyze.measures.subject import Subject, from_function, from_variables
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.report.findings import Finding
from cfi_jax.systems import files as weights

AVERAGE = "average"  # the trivial model beside the others: it has no gates and no features


@dataclasses.dataclass(frozen=True)
class Models:
  """The models in order, the trivial one last, and what the files of the others say, by name."""

  subjects: tuple[Subject, ...]
  cards: Mapping[str, weights.Card]

  @property
  def names(self) -> tuple[str, ...]:
    """Of all of them."""
    return tuple(subject.name for subject in self.subjects)

  def peers(self, name: str) -> tuple[str, ...]:
    """The other models of the same architecture."""
    card = self.cards.get(name)
    return tuple(
      other
      for other, its in self.cards.items()
      if card and other != name and its.architecture == card.architecture
    )


def load_models(paths: Sequence[pathlib.Path]) -> dict[str, tuple[dict, weights.Card]]:
  """Variables and card of weights, by the name of their file.

  Raises:
    InputError: a file cannot be used, or two have one name.
  """
  loaded = {}
  for path in paths:
    if path.stem in (*loaded, AVERAGE):
      raise InputError(
        f"{path}: the name {path.stem!r} is taken; models are called by their file names, taken: "
        f"{', '.join((*loaded, AVERAGE))}"
      )
    loaded[path.stem] = weights.load(path)
  return loaded


def make_models(
  loaded: Mapping[str, tuple[dict, weights.Card]], sizes: Sequence[tuple[int, int]]
) -> Models:
  """The subjects of loaded weights, which share programs for images of `sizes`, and the trivial."""
  subjects = [
    from_variables(name, variables, card.architecture, sizes)
    for name, (variables, card) in loaded.items()
  ]
  subjects.append(from_function(AVERAGE, average))
  return Models(tuple(subjects), {name: card for name, (_, card) in loaded.items()})


def average(pair: Pair) -> Fusion:
  """The mean of both images."""
  return Fusion((pair.visible + pair.infrared) / 2, (), {}, ())


# Parts that look at one model at a time: analyse(subject, samples, options), and pictures(...).
PICTURED: dict[str, types.ModuleType] = {
  "effects": effects,
  "gates": gates,
  "contribution": contribution,
}


def _each(module: types.ModuleType, models: Models, inputs: Inputs, seed: int) -> list[Finding]:
  options = module.Options(seed=seed)
  return [f for s in models.subjects for f in module.analyse(s, inputs.samples, options)]


def _features(models: Models, inputs: Inputs, seed: int) -> list[Finding]:
  """Each model is a peer of the others of its architecture."""
  options = features.Options(seed=seed)
  observed = {
    s.name: observe(s, inputs.samples, options.places, seed, inputs.labels)
    for s in models.subjects
    if s.name in models.cards
  }
  found = []
  for name, own in observed.items():
    peers = [observed[peer] for peer in models.peers(name)]
    found += features.analyse(name, own, options, peers)
  return found


WHOLE = ("gates", "features")  # parts that need more of whole images than the fused ones

# f(models, inputs, seed) -> findings.
PARTS: dict[str, Callable[[Models, Inputs, int], list[Finding]]] = {
  **{part: functools.partial(_each, module) for part, module in PICTURED.items()},
  "features": _features,
}
