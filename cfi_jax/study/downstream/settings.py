"""The settings of a study of downstream tasks: a probe, and the images that it is trained on."""

import dataclasses
import os
from typing import Any

from cfi_jax import datasets, systems
from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.engine import config as engine_config
from cfi_jax.fusion import rule_options
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.study import grid
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.fused import PART
from cfi_jax.systems.perception.model import SINGLE
from cfi_jax.weights import shipped

BOTH = "both"
SPLITS = ("test", "validation")


@dataclasses.dataclass(frozen=True)
class Study(grid.Rows):
  """One network, trained alike on one image, the other, both, and images that were fused before.

  probe: values of a config of perception; each row has its own `model.fusion` and `fused`.
  both: `model.fusion` of the row "both". fused: by the name of a row what fuses for it: weights (a
    file or a name), a rule, or a folder of fused images. split: "test" or "validation", scored.
  order: "visible", "infrared", "both" and names of `fused`.
  """

  probe: Any
  both: str
  fused: dict[str, str]
  split: str

  def __post_init__(self):
    """Refuses unknown names, doubles, what fuses nothing, and probes that cannot be."""
    probe = self.probe
    if not isinstance(probe, engine_config.Config):
      _, probe = systems.configure(dict(probe), "config.probe")
    if not isinstance(probe, Config):
      raise InputError(f"config.probe.system is {probe.system!r}; allowed: perception")
    object.__setattr__(self, "probe", probe)
    if self.both in SINGLE:
      raise InputError(f"config.both is {self.both!r}; allowed: a fusion of two images")
    self._require_split()
    for name, source in self.fused.items():
      if name in (*MODALITIES, BOTH):
        raise InputError(f"config.fused has {name!r}, which is a row of its own; rename it")
      if os.path.basename(name) != name or not name.strip("."):
        raise InputError(f"config.fused has {name!r}; allowed: names that files can have")
      self._require(name, source)
    self.check_rows((*MODALITIES, BOTH, *self.fused))

  def _require_split(self) -> None:
    if self.split not in SPLITS:
      raise InputError(f"config.split is {self.split!r}; allowed: {', '.join(SPLITS)}")
    there = datasets.load(self.probe.data).splits
    if self.split not in there:
      valid = ", ".join(split for split in SPLITS if split in there) or "none"
      raise InputError(
        f"config.split is {self.split!r}; allowed with data.name={self.probe.data['name']!r}: "
        f"{valid}"
      )

  def _require(self, name: str, source: str) -> None:
    if rule_options.is_rule(source) or source in shipped.SHA256 or PART in source:
      return
    if not storage.path(os.path.expanduser(source)).exists():
      names = ", ".join(shipped.SHA256)
      raise InputError(
        f"config.fused.{name} is {source!r}, which does not exist; allowed: a folder of fused "
        f"images, a file of weights, {names}, or a rule: {rule_options.NAMES}"
      )

  def config(self, row: str, seed: int) -> Config:
    """The training config of a row from a seed."""
    fusion, given = row, dict(weights="", folder="")
    if row == BOTH:
      fusion = self.both
    elif row not in MODALITIES:
      fusion, source = "fused", self.fused[row]
      given["folder" if _is_folder(source) else "weights"] = source
    return dataclasses.replace(
      self.probe,
      seed=seed,
      model=dataclasses.replace(self.probe.model, fusion=fusion),
      fused=dataclasses.replace(self.probe.fused, **given),
    )


def _is_folder(source: str) -> bool:
  """Whether fused images are files; a text that is a rule is the rule, as everywhere."""
  if rule_options.is_rule(source) or source in shipped.SHA256:
    return False
  return PART in source or storage.path(os.path.expanduser(source)).is_dir()
