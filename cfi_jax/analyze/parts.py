"""The parts of an analysis by name, and the models that they are done for."""

import functools
import pathlib
import types
from collections.abc import Callable, Sequence

from cfi_jax.analyze.inputs import Inputs
from cfi_jax.analyze.measures import contribution, effects, features, gates
from cfi_jax.analyze.measures.observations import observe
from cfi_jax.analyze.measures.subject import Subject, from_function, from_weights
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.report.findings import Finding

AVERAGE = "average"  # the trivial model beside the others: it has no gates and no features
PLACES = 256  # of each image at which features are compared
WHOLE = ("gates", "features")  # parts that need more of whole images than the fused ones


def load_models(paths: Sequence[pathlib.Path]) -> tuple[Subject, ...]:
  """The models of weights, called by the names of their files; the trivial one last.

  Raises:
    InputError: a file cannot be used, or two have one name.
  """
  loaded: dict[str, Subject] = {}
  for path in paths:
    if path.stem in (*loaded, AVERAGE):
      raise InputError(
        f"{path}: the name {path.stem!r} is taken; models are called by their file names, taken: "
        f"{', '.join((*loaded, AVERAGE))}"
      )
    loaded[path.stem] = from_weights(path)
  return (*loaded.values(), from_function(AVERAGE, average))


def peers(subject: Subject, models: Sequence[Subject]) -> list[Subject]:
  """The other models of the same architecture."""
  return [
    other
    for other in models
    if other.card and subject.card and other.name != subject.name
    if other.card.architecture == subject.card.architecture
  ]


def average(pair: Pair) -> Fusion:
  """The mean of both images."""
  return Fusion((pair.visible + pair.infrared) / 2, (), {}, ())


# Parts that look at one model at a time: analyse(subject, samples, seed), and
# pictures(subject, sample, seed).
PICTURED: dict[str, types.ModuleType] = {
  "effects": effects,
  "gates": gates,
  "contribution": contribution,
}


def _each(
  module: types.ModuleType, models: Sequence[Subject], inputs: Inputs, seed: int
) -> list[Finding]:
  return [f for subject in models for f in module.analyse(subject, inputs.samples, seed)]


def _features(models: Sequence[Subject], inputs: Inputs, seed: int) -> list[Finding]:
  """The features of each model, which is a peer of the others of its architecture."""
  trained = [subject for subject in models if subject.card]
  observed = {s.name: observe(s, inputs.samples, PLACES, seed, inputs.labels) for s in trained}
  return [
    finding
    for subject in trained
    for finding in features.analyse(
      subject.name,
      observed[subject.name],
      seed,
      [observed[peer.name] for peer in peers(subject, trained)],
    )
  ]


# f(models, inputs, seed) -> findings.
PARTS: dict[str, Callable[[Sequence[Subject], Inputs, int], list[Finding]]] = {
  **{part: functools.partial(_each, module) for part, module in PICTURED.items()},
  "features": _features,
}
