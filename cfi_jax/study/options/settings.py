"""The settings of a choice of a rule's options: held-out pairs, their variations, candidates."""

import dataclasses
import itertools
from typing import Any

from cfi_jax import datasets, metrics
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.datasets.files import FileDataset
from cfi_jax.fusion import rule_options
from cfi_jax.fusion.cameras import CameraOptions
from cfi_jax.report.ranks import RANKED
from cfi_jax.study import grid, pairs


@dataclasses.dataclass(frozen=True)
class Limit:
  """Faults that a candidate must not have more of than rules have.

  metric: one of which less is better; its mean is not above that of `rule`. clipped: the rule whose
    share of clipped pixels it does not exceed.
  """

  metric: str
  rule: str
  clipped: str


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the scores of a workdir: one workdir holds one protocol."""

  metrics: tuple[str, ...]
  convention: str
  crop: int
  pairs: int
  views: int
  cameras: CameraOptions
  seed: int


@dataclasses.dataclass(frozen=True)
class Study:
  """Candidates for the options of a rule, scored on held-out training pairs.

  The chosen one is within the limits on every set, and of these has the best mean rank among the
  rules beside it, or, of equal ones, among the candidates; of several sets the means count.

  sets: settings of data sets by name, whose "validation" pairs are taken, so never test pairs.
    score: which of them.
  crop: side of the squares from the middles of the images; smaller pairs are left out.
  pairs: of each set so many, spread evenly over their names; 0 for all.
  views, cameras, seed: of every pair so many variations beside the pair as it is.
  rule: whose options. grid: values of options by name; their combinations are the candidates.
  beside: rules that each candidate is ranked with. limit: see `Limit`.
  metrics, convention: scores; mean ranks are over those of `report.ranks.RANKED`.
  roots: folders that the settings refer to.
  """

  sets: dict[str, dict[str, Any]]
  score: tuple[str, ...]
  crop: int
  pairs: int
  views: int
  cameras: CameraOptions
  seed: int
  rule: str
  grid: dict[str, tuple[float, ...]]
  beside: tuple[str, ...]
  limit: Limit
  metrics: tuple[str, ...]
  convention: str
  roots: dict[str, str]

  def __post_init__(self):
    """Refuses unknown names, doubles, sets without held-out pairs and options that no rule has."""
    grid.check_names("score", self.score, self.sets)
    for name in self.score:
      dataset = datasets.load(self.sets[name])
      if not isinstance(dataset, FileDataset) or "validation" not in dataset.splits:
        raise InputError(f"config.sets.{name}: {dataset.title} holds no training pairs out")
    for field, least in (("crop", 16), ("pairs", 0), ("views", 0), ("seed", 0)):
      if getattr(self, field) < least:
        raise InputError(f"config.{field} is {getattr(self, field)}; allowed: {least} or more")
    spelled = metrics.spell_metrics(self.metrics, self.convention)
    object.__setattr__(self, "metrics", spelled)
    if not self.ranked_by:
      raise InputError(f"config.metrics has none to rank by; those are {', '.join(RANKED)}")
    for field, name in (("rule", self.rule), *(("beside", name) for name in self.beside)):
      if not rule_options.is_rule(name):
        raise InputError(f"config.{field}: no rule {name!r}; rules: {rule_options.NAMES}")
    grid.check_names("beside", self.beside, self.beside, fewest=0)
    for field in ("rule", "clipped"):
      if (name := getattr(self.limit, field)) not in self.beside:
        raise InputError(f"config.limit.{field} is {name!r}; allowed: {', '.join(self.beside)}")
    if self.limit.metric not in spelled:
      raise InputError(f"config.limit.metric is {self.limit.metric!r}; it is not in config.metrics")
    if metrics.METRICS[self.limit.metric].direction != "lower":
      raise InputError(
        f"config.limit.metric is {self.limit.metric!r}, of which more is better; allowed are those "
        "of which less is"
      )
    if not all(self.grid.values()):
      raise InputError(f"config.grid is {self.grid}; allowed: one value or more of every option")
    for candidate in self.candidates:
      rule_options.parse(candidate)

  @property
  def candidates(self) -> list[str]:
    """The rule with all combinations of the options of the grid, as `--weights` takes them."""
    texts = []
    for values in itertools.product(*self.grid.values()):
      given = ",".join(f"{k}={v:g}" for k, v in zip(self.grid, values, strict=True))
      texts.append(str(rule_options.parse(f"{self.rule}:{given}")))
    return texts

  @property
  def ranked_by(self) -> list[str]:
    """The metrics of the mean ranks."""
    return [metric for metric in RANKED if metric in self.metrics]

  @property
  def protocol(self) -> Protocol:
    """The settings that decide scores."""
    return Protocol(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Protocol)})

  def sources(self) -> dict[str, Source]:
    """The held-out pairs by set; refuses data sets without a folder."""
    places = {f"sets.{name}": self.sets[name] for name in self.score}
    pairs.require_roots(places, self.roots, "config.score")
    return {name: datasets.load(self.sets[name]).source("validation") for name in self.score}
