"""The methods of a study of weather: what fuses, what restores, and what does so in turn."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Fuser, Size
from cfi_jax.fusion.types import Pair
from cfi_jax.study import grid
from cfi_jax.study.weather.settings import Cell, Study
from cfi_jax.systems import files, restoring

RESTORED = "restored"  # ends the key of what a method restores


@dataclasses.dataclass(frozen=True)
class Column:
  """One series of scores: its name in tables, and its key, that of its files."""

  name: str
  key: str


@dataclasses.dataclass(frozen=True)
class Methods:
  """Models by name, and the hash by which each is known; see `Study.methods`."""

  study: Study
  models: dict[str, Any]
  digests: dict[str, str]

  @property
  def restorers(self) -> list[str]:
    """Names of the methods that restore."""
    return [name for name, model in self.models.items() if restoring.restores(model)]

  def fused(self, cell: Cell) -> list[Column]:
    """The columns of fused images of a cell; of clean pairs the upper bound alone."""
    study, digests = self.study, self.digests
    if not cell.kind:
      return [Column(study.bound, digests[study.reference])]
    own = [Column(n, digests[n]) for n, model in self.models.items() if isinstance(model, Fuser)]
    return own + [
      Column(f"{name}, then {other}", self._then(name, other))
      for name in self.restorers
      for other in study.after
      if other != name
    ]

  def restored(self, cell: Cell) -> list[Column]:
    """The columns of restored visible images of a cell, none without a restoring method."""
    if not cell.kind or not self.restorers:
      return []
    own = [Column(name, self._restored(name)) for name in self.restorers]
    return [Column(restoring.NOTHING, f"{restoring.NOTHING}-{RESTORED}"), *own]

  def apply(self, given: Pair, wanted: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the images of the keys that are wanted: each model works once on the given pair.

    Fused ones are luma [H, W, 1]; restored ones have the form of the given visible image.
    """
    if f"{restoring.NOTHING}-{RESTORED}" in wanted:
      yield f"{restoring.NOTHING}-{RESTORED}", given.visible
    for name, model in self.models.items():
      own, kept = self.digests[name], self._restored(name)
      then = {self._then(name, other): other for other in self.study.after if other != name}
      restored = None
      if restoring.restores(model) and not {kept, *then}.isdisjoint(wanted):
        fused, restored = restoring.fuse_and_restore(model, given)
      elif own in wanted:
        fused = _fuse(model, given)
      if own in wanted:
        yield own, fused
      if restored is None:
        continue
      if kept in wanted:
        yield kept, restored.visible
      for key, other in then.items():
        if key in wanted:
          yield key, _fuse(self.models[other], restored)

  def reserve(self, sizes: Iterable[Size]) -> None:
    """Plans few compiled programs for the images to come, one entry of `sizes` per image."""
    sizes = list(sizes)
    for model in self.models.values():
      if isinstance(model, Fuser):
        model.reserve(sizes)

  def _then(self, restorer: str, other: str) -> str:
    return f"{self.digests[restorer]}-{self.digests[other]}"

  def _restored(self, name: str) -> str:
    return f"{self.digests[name]}-{RESTORED}"


def load(study: Study) -> Methods:
  """Loads the methods; refuses weights that cannot be used as the study says."""
  models, digests = {}, {}
  for name, path in study.methods.items():
    try:
      models[name], digests[name] = restoring.load(path), files.digest(path)[:16]
    except InputError as error:
      raise InputError(f"config.methods.{name}: {error}") from error
    same = [other for other in digests if other != name and digests[other] == digests[name]]
    if same:
      raise InputError(f"config.methods: {same[0]} and {name} are the same, {path}")
    if not isinstance(models[name], Fuser) and not restoring.restores(models[name]):
      raise InputError(f"config.methods.{name}: {path} neither fuses nor restores")
  methods = Methods(study, models, digests)
  for field, names in (("reference", (study.reference,)), ("after", study.after)):
    for name in names:
      if not isinstance(models[name], Fuser):
        raise InputError(f"config.{field} names {name!r}, which restores and does not fuse")
  (cell,) = study.cells[-1:]
  grid.check_names("judged", study.judged, [column.name for column in methods.fused(cell)])
  return methods


def _fuse(model: Fuser, pair: Pair) -> np.ndarray:
  return model.fuse(pair.visible, pair.infrared, gray=True)
