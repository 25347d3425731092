"""The settings of a table of results: rows, seeds, and the pairs that are scored."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax import datasets, metrics
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.datasets.files import FileDataset
from cfi_jax.datasets.folder import Folder
from cfi_jax.study import grid
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.isfuse.config import Config


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the scores of a workdir: one workdir holds one protocol."""

  metrics: tuple[str, ...]
  convention: str


@dataclasses.dataclass(frozen=True)
class Study(grid.Rows):
  """Recipes trained from several seeds, scored on test pairs beside published weights.

  rows: whole training configs by name; their seeds are replaced. Without any in `order` nothing is
    trained, and the tables are of the published weights and the rules.
  tests: settings of data sets by name, whose "test" pairs are scored; of a `folder`, which has no
    lists, all. score: which of them.
  published: weights by name: a .safetensors file, the authors' .pth file, or the name of weights
    that the package carries; "" is none.
  metrics, convention: what is reported.
  roots: folders that the settings refer to; here so that one flag sets each.
  """

  FEWEST: ClassVar[int] = 0

  rows: dict[str, Config]
  tests: dict[str, dict[str, Any]]
  score: tuple[str, ...]
  published: dict[str, str]
  metrics: tuple[str, ...]
  convention: str
  roots: dict[str, str]

  def __post_init__(self):
    """Refuses unknown names, doubles, runs that cannot be and data sets with nothing to score."""
    self.check_rows(self.rows)
    grid.check_names("score", self.score, self.tests)
    taken = {"rows": BASELINES, "published": (*BASELINES, *self.rows)}
    for field, names in taken.items():
      for name in getattr(self, field):
        if name in names:  # the tables would give the mean of both
          raise InputError(f"config.{field}: {name!r} is taken; taken: {', '.join(names)}")
    names = metrics.spell_metrics(self.metrics, self.convention)
    object.__setattr__(self, "metrics", names)
    for test in self.score:
      dataset = datasets.load(self.tests[test])
      if isinstance(dataset, Folder) and dataset.validation_fraction:
        raise InputError(
          f"config.tests.{test}.validation_fraction is {dataset.validation_fraction}; allowed: 0, "
          "as all pairs of a folder are scored"
        )
      if not isinstance(dataset, FileDataset) or self.split(test) not in dataset.splits:
        raise InputError(f"config.tests.{test}: {dataset.title} has no test pairs")

  def config(self, row: str, seed: int) -> Config:
    """The training config of a row from a seed."""
    return dataclasses.replace(self.rows[row], seed=seed)

  def split(self, test: str) -> str:
    """The split of a test that is scored; of a folder all pairs are for training."""
    return "train" if self.tests[test]["name"] == Folder.name else "test"

  def sources(self) -> dict[str, Source]:
    """The pairs to score, by test; refuses data sets without a folder, which no config file has."""
    places = {f"rows.{row}.data": self.rows[row].data for row in self.order}
    places |= {f"tests.{test}": self.tests[test] for test in self.score}
    for place, settings in places.items():
      if not settings.get("root"):
        raise InputError(
          f"config.{place}.root is empty; give its folder by --config.roots.NAME=PATH, NAME among "
          f"{', '.join(self.roots)}, or leave it out of config.order and config.score"
        )
    return {t: datasets.load(self.tests[t]).source(self.split(t)) for t in self.score}
