"""The settings of a table of results: rows, seeds, and the pairs that are scored."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax import metrics
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.study import pairs
from cfi_jax.study.rows import Recipes
from cfi_jax.systems.baselines import BASELINES


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the scores of a workdir: one workdir holds one protocol."""

  metrics: tuple[str, ...]
  convention: str


@dataclasses.dataclass(frozen=True)
class Study(Recipes):
  """Recipes of systems that fuse, scored on test pairs beside published weights.

  Without any row in `order` nothing is trained: tables are of the published weights and the rules.

  tests: settings of data sets by name, whose "test" pairs are scored; of a `folder`, which has no
    lists, all. score: which of them.
  published: weights by name: a .safetensors file, the authors' .pth file, or the name of weights
    that the package carries; "" is none.
  metrics, convention: what is reported.
  roots: folders that the settings refer to; here so that one flag sets each.
  """

  FEWEST: ClassVar[int] = 0

  tests: dict[str, dict[str, Any]]
  score: tuple[str, ...]
  published: dict[str, str]
  metrics: tuple[str, ...]
  convention: str
  roots: dict[str, str]

  def __post_init__(self):
    """Refuses unknown names, doubles, runs that cannot be and data sets with nothing to score."""
    super().__post_init__()
    taken = {"rows": BASELINES, "published": (*BASELINES, *self.rows)}
    for field, names in taken.items():
      for name in getattr(self, field):
        if name in names:  # the tables would give the mean of both
          raise InputError(f"config.{field}: {name!r} is taken; taken: {', '.join(names)}")
    spelled = metrics.spell_metrics(self.metrics, self.convention)
    object.__setattr__(self, "metrics", spelled)
    pairs.check_tests(self.tests, self.score)

  def sources(self) -> dict[str, Source]:
    """The pairs to score, by test; refuses data sets without a folder."""
    places = {f"rows.{row}.data": self.rows[row].data for row in self.order}
    places |= {f"tests.{test}": self.tests[test] for test in self.score}
    pairs.require_roots(places, self.roots, "config.order and config.score")
    return pairs.open_tests(self.tests, self.score)
