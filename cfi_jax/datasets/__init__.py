"""Image pairs: datasets by name, their splits, and the input pipeline."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from cfi_jax.core.types import InputError
from cfi_jax.data.pipeline import Input, Stretch, train_batches, validation_batches
from cfi_jax.data.source import PairDataset, Sample, Source
from cfi_jax.datasets import folder, medical, visible_infrared
from cfi_jax.datasets.prepared import Tfds
from cfi_jax.datasets.synthetic import Synthetic

__all__ = [
  "DATASETS",
  "Dataset",
  "Input",
  "Sample",
  "Source",
  "load",
  "Stretch",
  "train_batches",
  "validation_batches",
]

Dataset = PairDataset | Synthetic

DATASETS = {
  "msrs": visible_infrared.Msrs,
  "roadscene": visible_infrared.RoadScene,
  "tno": visible_infrared.Tno,
  "m3fd": visible_infrared.M3fd,
  "llvip": visible_infrared.Llvip,
  "ct_mri": medical.CtMri,
  "pet_mri": medical.PetMri,
  "spect_mri": medical.SpectMri,
  "harvard": medical.Harvard,
  "folder": folder.Folder,
  "tfds": Tfds,
  "synthetic": Synthetic,
}


def load(options: Mapping[str, Any]) -> Dataset:
  """Builds the dataset that `options["name"]` names, with the other options as its fields.

  All fields are required. Raises InputError listing the valid names, options or types. Files are
  first looked at when a split is opened with `.source(split)`.
  """
  options = dict(options)
  name = options.pop("name", None)
  if name not in DATASETS:
    raise InputError(f"data.name={name!r}: must be one of {', '.join(DATASETS)}")
  cls = DATASETS[name]
  types = typing.get_type_hints(cls)
  types = {field.name: types[field.name] for field in dataclasses.fields(cls)}
  wrong = [f"unknown option {key!r}" for key in options if key not in types]
  wrong += [f"missing option {key!r}" for key in types if key not in options]
  wrong += [
    f"{key}={value!r} must be of type {types[key].__name__}"
    for key, value in options.items()
    if types.get(key) in (str, int, float, bool) and not _is_a(value, types[key])
  ]
  if wrong:
    raise InputError(f"data {name!r}: {'; '.join(wrong)}; its options are {', '.join(types)}")
  return cls(**options)


def _is_a(value: Any, kind: type) -> bool:
  if kind is float:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
  return isinstance(value, kind) and not (kind is int and isinstance(value, bool))
