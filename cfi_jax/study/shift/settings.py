"""The settings of a study of shift: recipes, seeds, worlds and corruptions to test in."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax import datasets, metrics
from cfi_jax.core.types import InputError
from cfi_jax.datasets.synthetic import Synthetic
from cfi_jax.datasets.world import corruptions
from cfi_jax.datasets.world.objects import ObjectOptions
from cfi_jax.study import grid
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.objective import LossOptions

CONVENTION = "strict"  # of the metrics: defined on every image
TRIVIAL = ("average", "maximum", "Laplacian pyramid", "a trous wavelets")  # `systems.baselines`
CORRELATION = "correlation"  # the sweep over worlds; all others are named after a corruption


@dataclasses.dataclass(frozen=True)
class Recipe:
  """Changes to `Study.train`: fields of the model, and the objective."""

  model: dict[str, Any]
  loss: LossOptions


@dataclasses.dataclass(frozen=True)
class Tests:
  """Tests of trained networks.

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
    object.__setattr__(self, "metrics", metrics.spell_metrics(self.metrics, CONVENTION))


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the numbers of a workdir: one workdir holds one protocol."""

  train: Config
  recipes: dict[str, Recipe]
  tests: Tests


@dataclasses.dataclass(frozen=True)
class Study(grid.Rows):
  """Recipes trained from several seeds in one world and tested in others.

  train: what all runs share; its seed and its objective are replaced.
  Without any row in `order` nothing is trained: tables are of the published weights and the rules.

  recipes: the rows, by name. published: weights that are tested, too, by name: a file, or the name
    of weights that the package carries; "" is none. reference: the row, the published weights or
    the rule (`TRIVIAL`) that differences refer to.
  """

  FEWEST: ClassVar[int] = 0

  train: Config
  recipes: dict[str, Recipe]
  tests: Tests
  published: dict[str, str]
  reference: str

  def __post_init__(self):
    """Refuses unknown recipes, doubles and training sets without truth."""
    self.check_rows(self.recipes)
    taken = (*self.recipes, *TRIVIAL)
    for name in self.published:
      if name in taken:
        raise InputError(f"config.published: {name!r} is taken; taken: {', '.join(taken)}")
    tested = (*self.order, *(n for n, path in self.published.items() if path), *TRIVIAL)
    if self.reference not in tested:
      raise InputError(
        f"config.reference is {self.reference!r}, which is not tested; tested: {', '.join(tested)}"
      )
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

  @property
  def world(self) -> Synthetic:
    """The training world."""
    return datasets.load(self.train.data)

  def config(self, row: str, seed: int) -> Config:
    """The training config of a recipe from a seed."""
    chosen = self.recipes[row]
    model = self.train.model | chosen.model
    if unknown := sorted(set(model) - set(self.train.model)):
      raise InputError(
        f"config.recipes.{row}.model has {unknown}; valid: {', '.join(self.train.model)}"
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
