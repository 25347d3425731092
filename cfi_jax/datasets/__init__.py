"""Data sets by name."""

from collections.abc import Mapping
from typing import Any, Protocol

from cfi_jax.core import config
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.datasets.characters.transfers import Characters
from cfi_jax.datasets.degraded import Degraded
from cfi_jax.datasets.figures.transfers import Figures
from cfi_jax.datasets.folder import Folder
from cfi_jax.datasets.labelled.sets import (
  Fmb,
  LabelledFolder,
  LlvipBoxes,
  M3fdBoxes,
  Mfnet,
  MsrsLabels,
  Nyudv2,
  Pst900,
)
from cfi_jax.datasets.medical import CtMri, Harvard, PetMri, SpectMri
from cfi_jax.datasets.posed.layouts import PoseFrames, PosePairs
from cfi_jax.datasets.prepared import Tfds
from cfi_jax.datasets.synthetic import Synthetic, SyntheticDepth, SyntheticLabels
from cfi_jax.datasets.visible_infrared import Llvip, M3fd, Msrs, RoadScene, Tno


class Dataset(Protocol):
  """A data set as systems use it."""

  @property
  def title(self) -> str:
    """Name of the data set in messages."""

  @property
  def splits(self) -> tuple[str, ...]:
    """Names of the splits that `source` opens: of "train", "validation" and "test"."""

  def source(self, split: str) -> Source:
    """Opens a split; raises InputError saying what is wrong with its files."""


DATASETS: dict[str, type] = {
  cls.name: cls
  for cls in (
    *(Msrs, RoadScene, Tno, M3fd, Llvip),
    *(CtMri, PetMri, SpectMri, Harvard),
    *(Degraded, Folder, Tfds, Synthetic, SyntheticDepth, Figures),
    *(Characters, PosePairs, PoseFrames),
    *(MsrsLabels, Mfnet, Pst900, Fmb, Nyudv2, M3fdBoxes, LlvipBoxes, LabelledFolder),
    SyntheticLabels,
  )
}
Tfds.table = DATASETS


def load(options: Mapping[str, Any]) -> Dataset:
  """Builds the data set that `options["name"]` names, with the other options as its fields.

  All fields are required. Raises InputError listing the valid names, options or types. Files are
  first looked at when a split is opened with `.source(split)`.
  """
  options = dict(options)
  name = options.pop("name", None)
  if name not in DATASETS:
    raise InputError(f"data.name={name!r}: must be one of {', '.join(DATASETS)}")
  config.build(DATASETS[name], options, "data")  # for its checks
  return DATASETS[name](**options)  # with numbers as given: fingerprints are made of their text
