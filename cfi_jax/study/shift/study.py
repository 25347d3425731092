"""What a study of distribution shift consists of: recipes, seeds, and what they are tested on."""

import dataclasses
from typing import Any

from cfi_jax import datasets, metrics
from cfi_jax.core.types import InputError
from cfi_jax.datasets.synthetic import Synthetic
from cfi_jax.datasets.world import corruptions
from cfi_jax.datasets.world.objects import ObjectOptions
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.objective import LossOptions

CONVENTION = "strict"  # of the metrics: defined on every image
CORRELATION = "correlation"  # the sweep over worlds; all others are named after a corruption


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What one recipe changes of `Study.train`: fields of the model, and the objective."""

  model: dict[str, Any]
  loss: LossOptions


@dataclasses.dataclass(frozen=True)
class Tests:
  """What trained networks are tested on.

  correlations: of temperature and brightness in the worlds tested on; else they are as in training.
  corruptions: strengths by name (`datasets.world.corruptions`), applied in the training world.
  scenes: number of held-out scenes, the same draws in every world.
  metrics: usual scores, under the convention "strict". objects: how objects are judged.
  """

  correlations: tuple[float, ...]
  corruptions: dict[str, tuple[float, ...]]
  scenes: int
  metrics: tuple[str, ...]
  objects: ObjectOptions

  def __post_init__(self):
    """Refuses tests that cannot be made."""
    if not self.correlations or not all(-1 <= c <= 1 for c in self.correlations):
      raise InputError(f"tests.correlations is {self.correlations}; allowed: one or more, -1 to 1")
    for name, strengths in self.corruptions.items():
      corruption = corruptions.get(name)
      for strength in strengths:
        corruption.check(name, strength)
    if self.scenes < 2:
      raise InputError(f"tests.scenes is {self.scenes}; allowed: 2 or more")
    metrics.find_metrics(self.metrics, CONVENTION)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """What decides the numbers of a study: one workdir holds the runs of one protocol."""

  train: Config
  recipes: dict[str, Recipe]
  tests: Tests


@dataclasses.dataclass(frozen=True)
class Study:
  """Recipes trained from several seeds in one world and tested in others.

  train: what all runs share; its seed is replaced, and its objective.
  recipes: by name. order: which of them to run, in this order. reference: the one that differences
    refer to.
  seeds: outer loop, so that a study that is stopped early is a complete smaller one.
  """

  train: Config
  recipes: dict[str, Recipe]
  tests: Tests
  order: tuple[str, ...]
  reference: str
  seeds: tuple[int, ...]

  def __post_init__(self):
    """Refuses unknown recipes, doubles and training sets without truth."""
    for name in (*self.order, self.reference):
      if name not in self.recipes:
        raise InputError(f"config: no recipe {name!r}; valid: {', '.join(self.recipes)}")
    if self.reference not in self.order:
      raise InputError(f"config.order lacks the reference {self.reference!r}: {self.order}")
    for field in ("order", "seeds"):
      values = getattr(self, field)
      if not values or len(set(values)) < len(values):
        raise InputError(f"config.{field} is {values}; allowed: one or more, each once")
    dataset = datasets.load(self.train.data)
    if not isinstance(dataset, Synthetic):
      raise InputError(
        f"config.train.data.name is {self.train.data['name']!r}; only synthetic has objects whose "
        "truth is known"
      )
    for metric in metrics.find_metrics(self.tests.metrics, CONVENTION):
      if dataset.size < metric.minimum_side(CONVENTION):
        raise InputError(
          f"tests.metrics: {metric.name} needs images of {metric.minimum_side(CONVENTION)} pixels "
          f"or more, and train.data.size is {dataset.size}"
        )
    for name in self.order:
      self.run(name, self.seeds[0])

  @property
  def protocol(self) -> Protocol:
    """All but which runs are asked for: seeds and recipes may be added to a study later."""
    return Protocol(self.train, self.recipes, self.tests)

  @property
  def world(self) -> Synthetic:
    """The training world."""
    return datasets.load(self.train.data)

  def run(self, recipe: str, seed: int) -> Config:
    """The training run of a recipe from a seed: of the initial weights, masks and crops."""
    chosen = self.recipes[recipe]
    model = self.train.model | chosen.model
    if unknown := sorted(set(model) - set(self.train.model)):
      raise InputError(
        f"config.recipes.{recipe}.model has {unknown}; valid: {', '.join(self.train.model)}"
      )
    return dataclasses.replace(self.train, seed=seed, model=model, loss=chosen.loss)


@dataclasses.dataclass(frozen=True)
class Condition:
  """One place on a sweep: a world (`CORRELATION`), or a corruption at a strength."""

  sweep: str
  x: float

  @property
  def name(self) -> str:
    """For tables and progress."""
    return f"{self.sweep} {self.x:+g}" if self.sweep == CORRELATION else f"{self.sweep} {self.x:g}"


def conditions(tests: Tests) -> tuple[Condition, ...]:
  """All conditions of a study: the worlds first, then the corruptions."""
  worlds = [Condition(CORRELATION, x) for x in tests.correlations]
  corrupted = [Condition(n, x) for n, strengths in tests.corruptions.items() for x in strengths]
  return (*worlds, *corrupted)
