"""What a table of results consists of: rows, seeds, and the pairs that are scored."""

import dataclasses
from typing import Any

from cfi_jax import config as config_lib
from cfi_jax import data, metrics
from cfi_jax.data.source import PairDataset, Source
from cfi_jax.evaluate.baselines import BASELINES
from cfi_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Protocol:
  """What decides the numbers of a study: one workdir holds the runs of one protocol."""

  tests: dict[str, dict[str, Any]]
  metrics: tuple[str, ...]
  convention: str


@dataclasses.dataclass(frozen=True)
class Study:
  """Recipes trained from several seeds, scored on test pairs beside published weights.

  rows: whole training configs by name; their seeds are replaced. order: which of them, in this
    order. seeds: outer loop, so that a study that is stopped early is a complete smaller one.
  tests: settings of data sets by name, whose "test" pairs are scored.
  published: weights by name: a .safetensors file, or what `cfi_jax.convert` takes; "" is none.
  metrics, convention: what is reported.
  roots: folders that the settings refer to; here so that one flag sets each.
  """

  rows: dict[str, config_lib.Config]
  order: tuple[str, ...]
  seeds: tuple[int, ...]
  tests: dict[str, dict[str, Any]]
  published: dict[str, str]
  metrics: tuple[str, ...]
  convention: str
  roots: dict[str, str]

  def __post_init__(self):
    """Refuses unknown rows, doubles and data sets that have nothing to score."""
    for name in self.order:
      if name not in self.rows:
        raise InputError(f"config.order: no row {name!r}; valid: {', '.join(self.rows)}")
    for field in ("order", "seeds"):
      values = getattr(self, field)
      if len(set(values)) < len(values):
        raise InputError(f"config.{field} is {values}; allowed: each once")
    if not self.seeds or not self.tests:
      raise InputError("config.seeds and config.tests must not be empty")
    taken = sorted(set(BASELINES) & {*self.rows, *self.published})
    if taken or set(self.rows) & set(self.published):
      raise InputError(f"config: the names of rows and published weights must differ: {taken}")
    metrics.find_metrics(self.metrics, self.convention)
    for name, settings in self.tests.items():
      dataset = data.load(settings)
      if not isinstance(dataset, PairDataset) or "test" not in dataset.splits:
        raise InputError(f"config.tests.{name}: {settings.get('name')!r} has no test pairs")

  def run(self, row: str, seed: int) -> config_lib.Config:
    """The training run of a row from a seed."""
    return dataclasses.replace(self.rows[row], seed=seed)

  def source(self, test: str) -> Source:
    """The pairs of a test."""
    return data.load(self.tests[test]).source("test")

  @property
  def protocol(self) -> Protocol:
    """All but the rows, seeds and published weights: they may be added later."""
    return Protocol(self.tests, self.metrics, self.convention)
