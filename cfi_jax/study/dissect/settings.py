"""The settings of a dissection: networks of one image and of both, and the steps looked at."""

import dataclasses

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.study import grid
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.model import BOTH, JOINS, MODALITIES, Perception

SPLIT = "test"  # the images that networks are looked at on
LEAST_IMAGES = 8  # of it: the similarity of features has no interval for fewer


@dataclasses.dataclass(frozen=True)
class Tests:
  """Places and steps at which trained networks are looked at.

  places: points of each image, the same in all, at which features are taken.
  steps: of the training, ascending, 0 before the first; the last is the end of the training.
  """

  places: int
  steps: tuple[int, ...]

  def __post_init__(self):
    """Refuses tests that cannot be made."""
    if self.places < 1:
      raise InputError(f"tests.places is {self.places}; allowed: 1 or more")
    if not self.steps or list(self.steps) != sorted(set(self.steps)) or self.steps[0] < 0:
      raise InputError(f"tests.steps is {self.steps}; allowed: whole numbers from 0, ascending")


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Settings that decide the numbers of a workdir: one workdir holds one protocol."""

  train: Config
  tests: Tests


ROWS = (*MODALITIES, *BOTH)  # the fusions of perception but that of images fused before


@dataclasses.dataclass(frozen=True)
class Study(grid.Rows):
  """Networks that differ in where they fuse alone, trained from several seeds and dissected.

  order: of `ROWS`, "visible" and "infrared" among them, without which nothing is compared.
  train: what all runs share, a config of perception; its seed and its fusion are replaced.
  """

  train: Config
  tests: Tests

  def __post_init__(self):
    """Makes a typed config; refuses unknown rows, doubles and tests that the runs do not allow."""
    self.check_rows(ROWS)
    if missing := [name for name in MODALITIES if name not in self.order]:
      raise InputError(
        f"config.order lacks {', '.join(missing)}, which networks of both images are compared with"
      )
    if not self.train.model.segmentation:
      raise InputError("config.train.model.segmentation is False; a dissection needs it")
    if self.tests.steps[-1] != self.train.steps:
      raise InputError(
        f"tests.steps ends at {self.tests.steps[-1]} and train.steps is {self.train.steps}; "
        "allowed: the same"
      )
    every, keep = self.train.checkpoint.every, self.train.checkpoint.keep
    fewest = -(-(self.train.steps - next(s for s in self.tests.steps if s)) // every) + 1
    if keep < fewest or any(step % every for step in self.tests.steps[:-1]):
      raise InputError(
        f"tests.steps is {self.tests.steps} and train.checkpoint keeps {keep} checkpoints, one "
        f"every {every} steps; allowed: checkpoint.keep of {fewest} or more, and multiples of "
        "checkpoint.every (the last may be another)"
      )
    dataset = datasets.load(self.train.data)
    if SPLIT not in dataset.splits:
      raise InputError(
        f"config.train.data.name is {self.train.data['name']!r}, which has no split {SPLIT!r}"
      )

  @property
  def joint(self) -> tuple[str, ...]:
    """The rows of networks of both images, in their order."""
    return tuple(row for row in self.order if row not in MODALITIES)

  @property
  def strategies(self) -> tuple[str, ...]:
    """The rows that fuse at every level, of equally many parameters."""
    return tuple(row for row in self.order if row in JOINS)

  def config(self, row: str, seed: int) -> Config:
    """The training config of a fusion from a seed."""
    model = dataclasses.replace(self.train.model, fusion=row)
    return dataclasses.replace(self.train, seed=seed, model=model)

  def network(self, row: str) -> Perception:
    """The network of a row."""
    return Perception(self.config(row, self.seeds[0]).architecture)
