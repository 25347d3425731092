"""The settings of a study of quality under weather: pairs, weather, and methods that fuse them."""

import dataclasses
from typing import Any, NamedTuple

from cfi_jax import metrics
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.fusion.weather import LAST_SEED, LEVELS, THERMAL, WeatherOptions, parts_of
from cfi_jax.study import grid, pairs


class Cell(NamedTuple):
  """All pairs of one test under one kind and level of weather from one seed.

  kind: "" of the clean pairs, which have no level, and the seed `CLEAN_SEED`.
  """

  test: str
  kind: str
  level: str
  seed: int

  @property
  def name(self) -> str:
    """The name of its folder."""
    return f"{self.kind}-{self.level}-{self.seed}" if self.kind else "clean"

  def __str__(self) -> str:
    """For progress."""
    return f"{self.test}: {self.name}"


CLEAN_SEED = -1


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the scores of a workdir: one workdir holds one protocol."""

  metrics: tuple[str, ...]
  convention: str
  thermal: str
  pairs: int


@dataclasses.dataclass(frozen=True)
class Study:
  """Methods that fuse pairs under made weather, scored against the clean pairs.

  tests: settings of data sets by name, whose "test" pairs are taken. score: which of them.
  pairs: of each test so many, spread evenly over their sorted names; 0 for all.
  kinds, levels, thermal: of the weather, see `fusion.weather`. seeds: of the weather.
  methods: by name what `--weights` takes: a file, weights of the package, a rule, or weights that
    restore; "" is none. Each fuses the pair under weather as it is given.
  after: methods that also fuse what each method that restores has restored.
  reference: the method that differences refer to; of the clean pairs it is the upper bound.
  judged: methods, or "NAME, then NAME", that the findings are about.
  metrics, convention: of fused images. roots: folders that the settings refer to.
  """

  tests: dict[str, dict[str, Any]]
  score: tuple[str, ...]
  pairs: int
  kinds: tuple[str, ...]
  levels: tuple[str, ...]
  thermal: str
  seeds: tuple[int, ...]
  methods: dict[str, str]
  after: tuple[str, ...]
  reference: str
  judged: tuple[str, ...]
  metrics: tuple[str, ...]
  convention: str
  roots: dict[str, str]

  def __post_init__(self):
    """Refuses unknown names, doubles, and what cannot be drawn or scored."""
    pairs.check_tests(self.tests, self.score)
    if self.pairs < 0 or self.pairs == 1:
      raise InputError(f"config.pairs is {self.pairs}; allowed: 2 or more, or 0 for all")
    grid.check_names("kinds", self.kinds, self.kinds)
    for kind in self.kinds:
      try:
        parts_of(kind)
      except InputError as error:
        raise InputError(f"config.kinds: {error}") from error
    grid.check_names("levels", self.levels, LEVELS)
    if self.thermal not in THERMAL:
      raise InputError(f"config.thermal is {self.thermal!r}; valid: {', '.join(THERMAL)}")
    grid.check_names("seeds", self.seeds, self.seeds)
    for seed in self.seeds:
      if not 0 <= seed <= LAST_SEED:
        raise InputError(f"config.seeds has {seed}; allowed: 0 to {LAST_SEED}")
    methods = {name: path for name, path in self.methods.items() if path}
    object.__setattr__(self, "methods", methods)
    grid.check_names("reference", (self.reference,), methods)
    if self.after:
      grid.check_names("after", self.after, methods)
    spelled = metrics.spell_metrics(self.metrics, self.convention)
    object.__setattr__(self, "metrics", spelled)

  @property
  def bound(self) -> str:
    """The name of the upper bound in tables."""
    return f"{self.reference}, clean pair"

  @property
  def protocol(self) -> Protocol:
    """The settings that decide scores."""
    return Protocol(self.metrics, self.convention, self.thermal, self.pairs)

  @property
  def cells(self) -> list[Cell]:
    """All cells: the clean pairs, then seed by seed, so that one stopped early is a smaller one."""
    clean = [Cell(test, "", "", CLEAN_SEED) for test in self.score]
    return clean + [
      Cell(test, kind, level, seed)
      for seed in self.seeds
      for test in self.score
      for kind in self.kinds
      for level in self.levels
    ]

  def weather(self, cell: Cell) -> WeatherOptions:
    """The weather of a cell that is not clean."""
    return WeatherOptions((cell.kind,), (cell.level,), (self.thermal,), clear=0.0)

  def sources(self) -> dict[str, Source]:
    """The pairs, by test; refuses data sets without a folder."""
    places = {f"tests.{test}": self.tests[test] for test in self.score}
    pairs.require_roots(places, self.roots, "config.score")
    return pairs.open_tests(self.tests, self.score)
