"""Measurement of the cells of a study of weather: each pair degraded once, given to all methods."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.data.listing import evenly
from cfi_jax.data.source import Source
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ranges
from cfi_jax.images import read as images
from cfi_jax.metrics import Scores, Triplet, score
from cfi_jax.study.weather.methods import Methods
from cfi_jax.study.weather.settings import Cell, Study
from cfi_jax.systems import restoring

SCORES = "scores"  # folder of the workdir


@dataclasses.dataclass(frozen=True)
class Pictures:
  """Owns the clean pairs of all tests, each decoded when it is first asked for, and kept."""

  study: Study
  sources: Mapping[str, Source]
  decoded: dict[tuple[str, int], Pair] = dataclasses.field(default_factory=dict)

  def chosen(self, test: str) -> list[int]:
    """Indices of the pairs of a test that are taken."""
    total = len(self.sources[test])
    return evenly(total, self.study.pairs or total)

  def name(self, test: str, index: int) -> str:
    """The name of a pair."""
    return self.sources[test].names[index]

  def clean(self, test: str, index: int) -> Pair:
    """A clean pair, uint8: visible [H, W, 1 or 3] without alpha, infrared [H, W, 1]."""
    if (test, index) not in self.decoded:
      found = self.sources[test].read(index)
      pair = Pair(found["visible"][..., :3], images.luma(found["infrared"]))
      self.decoded[test, index] = pair
    return self.decoded[test, index]

  def given(self, cell: Cell, index: int) -> Pair:
    """A pair as the cell has it, uint8: what `python -m cfi_jax.weather` writes for its seed."""
    clean = self.clean(cell.test, index)
    if not cell.kind:
      return clean
    unit = Pair(*((image / 255).astype(np.float32) for image in (clean.visible, clean.infrared)))
    name, options = self.name(cell.test, index), self.study.weather(cell)
    seen, _ = weather_lib.on_picture(cell.seed, name, unit, options)
    return Pair(*(ranges.to_type(255 * x, np.uint8) for x in (seen.visible, seen.infrared)))


def file(workdir: pathlib.Path, cell: Cell, key: str) -> pathlib.Path:
  """The file of the scores of a column of a cell."""
  return workdir / SCORES / cell.test / cell.name / f"{key}.csv"


def missing(workdir: pathlib.Path, methods: Methods, cell: Cell) -> list[str]:
  """The keys of a cell that have no scores yet."""
  columns = (*methods.fused(cell), *methods.restored(cell))
  return [c.key for c in columns if not file(workdir, cell, c.key).exists()]


def measure(workdir: pathlib.Path, methods: Methods, pictures: Pictures, cell: Cell) -> None:
  """Scores what a cell lacks, and writes a file for each column.

  Fused images are compared with the clean pair, restored ones with the clean visible image.
  """
  study, wanted = methods.study, missing(workdir, methods, cell)
  restored = {column.key for column in methods.restored(cell)}
  chosen = pictures.chosen(cell.test)
  kept: list[Triplet] = []

  def fused() -> Iterator[Triplet]:
    for index in chosen:
      name, clean = pictures.name(cell.test, index), pictures.clean(cell.test, index)
      for key, image in methods.apply(pictures.given(cell, index), wanted):
        if key in restored:  # of equal sources the fusion metrics are those of one reference
          kept.append(Triplet(key, name, clean.visible, clean.visible, image))
        else:
          yield Triplet(key, name, clean.visible, clean.infrared, image)

  total = len(chosen) * len(set(wanted) - restored)
  rows = score(fused(), study.metrics, study.convention, total=total).rows
  rows += score(kept, restoring.METRICS, restoring.CONVENTION, progress=False).rows
  for key in wanted:
    own = Scores(tuple(row for row in rows if row.method == key))
    write_atomically(file(workdir, cell, key), own.to_csv().encode(errors="replace"))
