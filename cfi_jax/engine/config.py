"""The configuration that every run has, whatever its system."""

import dataclasses
from typing import Any, ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.data.pipeline import Input
from cfi_jax.engine.workdir.manager import CheckpointOptions


@dataclasses.dataclass(frozen=True)
class Config:
  """One training run; a system's own `Config` adds its fields.

  system: folder below cfi_jax/systems.
  data: name of the data set and its options (`cfi_jax.datasets.DATASETS`).
  input: crops and augmentation. batch_size: global, over all devices.
  steps_per_dispatch: at most so many steps are given to the devices at once.
  epochs: passes over the first stream's records; steps: if not 0, the number of steps instead.
  checkpoint: which are kept.
  log_every, validate_every: in steps; the last step always logs, validates and saves.
  validation_pairs: at most so many samples, evenly spread, are validated on; pictures: so many of
    them are drawn.
  memory_gb: memory that a step may take on each device; 0: as much as the machine has.
  init_from: weights that the run begins with: a weights file, the name of shipped weights, or the
    workdir of another run; "": random ones.
  profile_steps: steps to trace, "10:13" for 10, 11 and 12; "": none (see `engine.profile`).
  hash_contents: whether images are known by hashes of their contents, beside names and sizes.
  OLDER: fields that were added, by path, each with the value that versions without it behaved by.
  OPERATIONAL: paths of the fields that do not decide a run's result: where files are (images and
    initial weights are known by their hashes instead), how it is computed, what is logged and kept.
    A run goes on with other ones. All other fields are deciding, and a change of them is refused;
    only `steps` and `epochs` may grow where `fixed_length` is "".
  ADDED: fields of the architecture that are "none" in weights without a part; a run with it may
    begin from these, and the variables of the prefix that each has, by path, are 0 then.
  """

  OLDER: ClassVar[dict[str, Any]] = {
    "system": "isfuse",
    "steps_per_dispatch": 1,
    "input.device_gb": 0.0,
    "input.cache_gb": 16.0,
    "input.shuffle": "records",
    "input.normalize": "full",
    "input.normalize_over": "image",
    **{f"data:folder.{name}": value for name, value in naming.OPTIONS.items()},
    "init_from": "",
    "hash_contents": False,
    "profile_steps": "",
  }
  ADDED: ClassVar[dict[str, str]] = {}
  OPERATIONAL: ClassVar[tuple[str, ...]] = (
    *("data.root", "data.visible", "data.infrared", "init_from", "hash_contents"),
    *("input.workers", "input.threads", "input.prefetch", "input.device_gb"),
    "input.cache_gb",
    *("steps_per_dispatch", "memory_gb", "checkpoint.every", "checkpoint.keep"),
    *("log_every", "validate_every", "pictures", "profile_steps"),
  )

  seed: int
  system: str
  data: dict[str, Any]
  input: Input
  batch_size: int
  steps_per_dispatch: int
  epochs: float
  steps: int
  checkpoint: CheckpointOptions
  log_every: int
  validate_every: int
  validation_pairs: int
  pictures: int
  memory_gb: float
  init_from: str
  hash_contents: bool
  profile_steps: str

  def __post_init__(self):
    """Refuses numbers that no run can have."""
    counts = ("batch_size", "steps_per_dispatch", "log_every", "validate_every")
    for name in (*counts, "validation_pairs"):
      if getattr(self, name) < 1:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 1 or more")
    for name in ("steps", "epochs", "pictures", "memory_gb"):
      if getattr(self, name) < 0:
        raise InputError(f"config.{name} is {getattr(self, name)}; allowed: 0 or more")
    if not 0 <= self.seed < 2**31:
      raise InputError(f"config.seed is {self.seed}; allowed: 0 to {2**31 - 1}")
    profiled(self.profile_steps)
    if not self.steps and not self.epochs:
      raise InputError("config.steps and config.epochs are both 0; one must say how long to train")
    if self.judges.get(self.checkpoint.best) != self.checkpoint.direction:
      valid = ", ".join(f"{name} ({direction})" for name, direction in self.judges.items())
      raise InputError(
        f"checkpoint.best is {self.checkpoint.best!r} ({self.checkpoint.direction}); valid: {valid}"
      )

  @property
  def fixed_length(self) -> str:
    """A clause on why a run of this config cannot be made longer; "" where it can."""
    return ""

  @property
  def judges(self) -> dict[str, str]:
    """Validation values that may choose the best checkpoint, each "lower" or "higher"."""
    return {"loss": "lower"}


def profiled(text: str) -> range:
  """The steps of `Config.profile_steps`: of "10:13" 10, 11 and 12, as slices have it; of "" none.

  Raises InputError for anything else.
  """
  if not text:
    return range(0)
  first, colon, end = text.partition(":")
  if not (colon and first.isdecimal() and end.isdecimal() and 0 < int(first) < int(end)):
    raise InputError(
      f"config.profile_steps is {text!r}; allowed: FIRST:END, such as 10:13 for the steps 10 to "
      "12, or nothing"
    )
  return range(int(first), int(end))
