"""Reading back what `python -m cfi_jax.prepare` wrote: TFDS datasets in ArrayRecord files."""

import dataclasses
import functools
import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, Store
from cfi_jax.data.source import PairDataset
from cfi_jax.datasets.medical import CtMri, Medical, PetMri, SpectMri
from cfi_jax.datasets.visible_infrared import Llvip, M3fd, Msrs, RoadScene, Tno

VERSION = "1.0.0"  # of the records' layout

FAMILIES = {
  "msrs": Msrs,
  "roadscene": RoadScene,
  "tno": Tno,
  "m3fd": M3fd,
  "llvip": Llvip,
  "ct_mri": CtMri,
  "pet_mri": PetMri,
  "spect_mri": SpectMri,
}


def family(name: str) -> type[PairDataset]:
  """The dataset a builder was made from; raises InputError listing the valid names."""
  if name not in FAMILIES:
    raise InputError(f"builder={name!r}: must be one of {', '.join(FAMILIES)}")
  return FAMILIES[name]


@dataclasses.dataclass(frozen=True)
class Tfds(PairDataset):
  """A prepared dataset: the same pairs, splits and order as the folder it was made from.

  root: TFDS's data_dir, which holds {builder}/{version}.
  builder: one of `FAMILIES`.
  split_by, test_fraction: as in `Medical`; "shipped" and 0 for all others.
  """

  builder: str
  split_by: str
  test_fraction: float

  def __post_init__(self):
    """Raises InputError for an unknown builder or options that it does not have."""
    self._family  # noqa: B018 (its own checks)

  @functools.cached_property
  def _family(self) -> PairDataset:
    cls = family(self.builder)
    if issubclass(cls, Medical):
      return cls(self.root, self.validation_fraction, self.split_by, self.test_fraction)
    if self.split_by != "shipped" or self.test_fraction != 0:
      raise InputError(
        f"builder {self.builder!r} has split_by='shipped' and test_fraction=0 only, "
        f"not {self.split_by!r} and {self.test_fraction}"
      )
    return cls(self.root, self.validation_fraction)

  @property
  def parts(self) -> tuple[str, ...]:
    """The parts that were shipped."""
    return self._family.parts

  @property
  def title(self) -> str:
    """The builder's name in messages."""
    return f"{self._family.title} (tfds)"

  @property
  def store(self) -> Store:
    """The records of the prepared files."""
    return RecordStore(self.directory)

  def listing(self, part: str) -> Listing:
    """The pairs as they were listed when the files were written."""
    return _prepared(self.directory).listings[part]

  def group(self, name: str) -> str:
    """As in the original."""
    return self._family.group(name)

  def needs(self, split: str) -> tuple[str, ...]:
    """As in the original."""
    return self._family.needs(split)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """As in the original."""
    return self._family.arrange(parts)

  @property
  def directory(self) -> str:
    """The folder of the records; raises InputError when nothing was prepared."""
    if not self.root:
      raise InputError("the data root is empty: set config.data.root to TFDS's data_dir")
    directory = os.path.join(os.path.expanduser(self.root), self.builder, VERSION)
    if not os.path.isfile(os.path.join(directory, "dataset_info.json")):
      raise InputError(
        f"no prepared dataset in {directory}; write it with python -m cfi_jax.prepare "
        f"--dataset={self.builder} --root=PATH --data_dir={self.root}"
      )
    return directory


@dataclasses.dataclass(frozen=True)
class RecordStore:
  """The encoded images of a prepared dataset, under the paths of the original files."""

  directory: str

  def open(self, path: str) -> BinaryIO:
    """The image's bytes; raises InputError when the record is not the listed one."""
    prepared = _prepared(self.directory)
    part, row, name, modality = prepared.places[path]
    record = prepared.parts[part][row]
    found = record["name"].decode()
    if found != name:
      raise InputError(
        f"{self.label(path)}: record {row} of {part} is {found!r}, expected {name!r}"
      )
    return io.BytesIO(record[modality])

  def label(self, path: str) -> str:
    """The dataset's folder and the original path."""
    return f"{self.directory}:{path}"


@dataclasses.dataclass(frozen=True)
class _Prepared:
  listings: dict[str, Listing]
  parts: dict[str, Any]  # per part TFDS's random access source of records with encoded images
  places: dict[str, tuple[str, int, str, str]]  # path -> part, row, name, modality


def to_metadata(listings: Mapping[str, Listing]) -> dict[str, Any]:
  """Listings as JSON, which TFDS keeps beside the records."""
  return {part: dataclasses.asdict(listing) for part, listing in listings.items()}


def from_metadata(metadata: Mapping[str, Any]) -> dict[str, Listing]:
  """The inverse of `to_metadata`."""
  listings = {}
  for part, fields in metadata.items():
    records = tuple(
      Record(r["name"], File(**r["visible"]), File(**r["infrared"])) for r in fields["records"]
    )
    listings[part] = Listing(records, tuple(fields["problems"]), tuple(fields["strays"]))
  return listings


@functools.lru_cache(maxsize=4)
def _prepared(directory: str) -> _Prepared:
  import tensorflow_datasets as tfds  # here, since it is slow and no other dataset needs it

  builder = tfds.builder_from_directory(directory)
  listings = from_metadata(builder.info.metadata["listings"])
  raw = {"visible": tfds.decode.SkipDecoding(), "infrared": tfds.decode.SkipDecoding()}
  parts = {part: builder.as_data_source(part, decoders=raw) for part in listings}
  places = {}
  for part, listing in listings.items():
    for row, record in enumerate(listing.records):
      places[record.visible.path] = (part, row, record.name, "visible")
      places[record.infrared.path] = (part, row, record.name, "infrared")
  return _Prepared(listings, parts, places)
