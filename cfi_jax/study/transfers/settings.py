"""The settings of a study of pose transfer: people, methods, and bars over a trivial transfer."""

import dataclasses
from typing import Any, NamedTuple

from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.transfers import Figures
from cfi_jax.study import grid
from cfi_jax.systems.dfcnet import judges, trials
from cfi_jax.systems.dfcnet.baselines import BASELINES
from cfi_jax.systems.dfcnet.scores import DIRECTIONS


class Cell(NamedTuple):
  """All transfers of a split by one method; weights: its file, "" of a trivial transfer."""

  split: str
  method: str
  weights: str

  def __str__(self) -> str:
    """For progress."""
    return f"{self.split}: {self.method}{f', {self.weights}' if self.weights else ''}"


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the scores of a workdir; judge: SHA-256 of its file."""

  data: dict[str, Any]
  judge: str


@dataclasses.dataclass(frozen=True)
class Study:
  """Methods of pose transfer, scored on people whose answers are known beside trivial transfers.

  data: settings of the people. splits: of `trials.HELD_OUT`.
  methods: by name weights, a file (or weights of the package) for each training seed.
  judge: weights whose estimator reads keypoints off every picture, those of `methods` or others; or
    a file or package of BlazePose.
  reference: the trivial transfer that differences refer to.
  bars: by score the least gain over the reference that is asked of a method.
  """

  data: dict[str, Any]
  splits: tuple[str, ...]
  methods: dict[str, tuple[str, ...]]
  judge: str
  reference: str
  bars: dict[str, float]

  def __post_init__(self):
    """Refuses unknown names, doubles, and people whose answers are not known."""
    self.dataset  # noqa: B018 (its own checks)
    grid.check_names("splits", self.splits, trials.HELD_OUT)
    grid.check_names("reference", (self.reference,), BASELINES)
    grid.check_names("bars", tuple(self.bars), DIRECTIONS, fewest=0)
    for name, files in self.methods.items():
      if name in BASELINES:
        raise InputError(f"config.methods has {name!r}, which is a trivial transfer; rename it")
      if not files or "" in files or len(set(files)) < len(files):
        raise InputError(
          f"config.methods.{name} is {files}; allowed: files of weights, one for each training "
          f"seed: --config.methods.{name}=\"('FILE',)\""
        )

  @property
  def dataset(self) -> Figures:
    """The people."""
    return trials.open_people(self.data, "config.data")

  @property
  def files(self) -> list[str]:
    """All weights, the judge's first, each once."""
    own = [] if judges.is_blazepose(self.judge) else [self.judge]
    return list(dict.fromkeys((*own, *(f for files in self.methods.values() for f in files))))

  def cells(self, split: str) -> list[Cell]:
    """The cells of a split: the trivial transfers first."""
    trivial = [Cell(split, name, "") for name in BASELINES]
    return trivial + [Cell(split, n, file) for n, own in self.methods.items() for file in own]
