"""Data sets that `python -m cfi_jax.prepare` wrote: TFDS's ArrayRecord files, read back."""

import bisect
import dataclasses
import functools
import io
import itertools
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, Store
from cfi_jax.datasets.files import FileDataset

VERSION = "1.0.0"  # of the records' layout
OPEN_SHARDS = 16  # of data sets in buckets, by a process


@dataclasses.dataclass(frozen=True)
class Tfds(FileDataset):
  """A prepared data set: the same records, splits and order as the folder it was made from.

  root: TFDS's data_dir, which holds {builder}/{version}.
  builder: name of the data set that was prepared.
  split_by, test_fraction: as in `Medical`; "shipped" and 0 for all others.

  table: the data sets by name, `datasets.DATASETS`, which sets it: this class is in it.
  """

  builder: str
  split_by: str
  test_fraction: float

  name = "tfds"
  preparable = False
  table: ClassVar[Mapping[str, type]]

  def __post_init__(self):
    """Raises InputError for an unknown builder or options that it does not have."""
    self.original  # noqa: B018 (its own checks)

  @functools.cached_property
  def original(self) -> FileDataset:
    """The data set as it was shipped, with the same root."""
    families = preparable(self.table)
    if self.builder not in families:
      raise InputError(f"builder={self.builder!r}: must be one of {', '.join(families)}")
    cls, options = families[self.builder], dataclasses.asdict(self)
    fields = {field.name for field in dataclasses.fields(cls)}
    if "split_by" not in fields and (self.split_by, self.test_fraction) != ("shipped", 0):
      raise InputError(
        f"builder {self.builder!r} has split_by='shipped' and test_fraction=0 only, "
        f"not {self.split_by!r} and {self.test_fraction}"
      )
    return cls(**{name: value for name, value in options.items() if name in fields})

  @property
  def parts(self) -> tuple[str, ...]:
    """Names of the parts that were shipped."""
    return self.original.parts

  @property
  def title(self) -> str:
    """Name of the data set in messages."""
    return f"{self.original.title} (tfds)"

  @property
  def store(self) -> Store:
    """Opens the records of the prepared files."""
    return RecordStore(self.directory)

  def listing(self, part: str) -> Listing:
    """Returns the records as they were listed when the files were written."""
    return _prepared(self.directory).listings[part]

  def group(self, name: str) -> str:
    """Names the group of a record, as the original does."""
    return self.original.group(name)

  def needs(self, split: str) -> tuple[str, ...]:
    """Names the parts that a split is made of, as the original does."""
    return self.original.needs(split)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """Makes the splits, as the original does."""
    return self.original.arrange(parts)

  @property
  def directory(self) -> str:
    """Folder of the records; raises InputError when nothing was prepared."""
    if not self.root:
      raise InputError("the data root is empty: set config.data.root to TFDS's data_dir")
    directory = storage.join(os.path.expanduser(self.root), self.builder, VERSION)
    if not storage.path(directory, "dataset_info.json").is_file():
      raise InputError(
        f"no prepared dataset in {directory}; write it with python -m cfi_jax.prepare "
        f"--dataset={self.builder} --root=PATH --data_dir={self.root}"
      )
    return directory


@dataclasses.dataclass(frozen=True)
class RecordStore:
  """The encoded images of a prepared data set, under the paths of the original files."""

  directory: str

  def open(self, path: str) -> BinaryIO:
    """Opens the image's bytes; raises InputError when the record is not the listed one."""
    prepared = _prepared(self.directory)
    part, row, name, image = prepared.places[path]
    record = prepared.parts[part][row]
    found = record["name"].decode()
    if found != name:
      raise InputError(
        f"{self.label(path)}: record {row} of {part} is {found!r}, expected {name!r}"
      )
    return io.BytesIO(record[image])

  def peek(self, path: str) -> BinaryIO:
    """Opens the image's bytes, as `open` does: a record is read whole."""
    return self.open(path)

  def shard(self, path: str) -> int:
    """Returns the number of the record's shard among those of its part."""
    prepared = _prepared(self.directory)
    part, row, *_ = prepared.places[path]
    return bisect.bisect_right(prepared.ends[part], row)

  def label(self, path: str) -> str:
    """Names the data set's folder and the original path."""
    return f"{self.directory}:{path}"


@dataclasses.dataclass(frozen=True)
class _Prepared:
  """An open data set.

  parts: TFDS's random access source of records with encoded images, by shipped part.
  places: shipped part, row, record name and image name of every original path.
  ends: number of records up to the end of each shard, by shipped part.
  """

  listings: dict[str, Listing]
  parts: dict[str, Any]
  places: dict[str, tuple[str, int, str, str]]
  ends: dict[str, list[int]]


def _described(directory: str) -> pathlib.Path:
  """The folder of a prepared data set on this machine; of one in a bucket without its shards."""
  if not storage.is_remote(directory):
    return storage.path(directory)
  folder = storage.temporary()
  for entry in storage.entries(directory):
    if not entry.is_dir() and entry.name.endswith(".json"):
      (folder / entry.name).write_bytes(storage.path(entry.path).read_bytes())
  return folder


@dataclasses.dataclass(frozen=True)
class _Shards:
  """The records of a part in a bucket, whose shards come through the cache one by one.

  array_record reads files of this machine alone. shards: URL and number of records of each.
  deserialize: f(bytes) -> record.
  """

  shards: tuple[tuple[str, int], ...]
  deserialize: Callable[[bytes], dict[str, Any]]

  @classmethod
  def of(cls, info: Any, part: str, directory: str, decoders: Mapping[str, Any]) -> "_Shards":
    """The shards that a data set's description names."""
    split = info.splits[part]
    urls = [storage.join(directory, os.path.basename(path)) for path in split.filepaths]
    read = functools.partial(info.features.deserialize_example_np, decoders=decoders)
    return cls(tuple(zip(urls, split.shard_lengths, strict=True)), read)

  def __getitem__(self, row: int) -> dict[str, Any]:
    """Reads a record."""
    for url, count in self.shards:
      if row < count:
        return self.deserialize(_shard(url)[row])
      row -= count
    raise IndexError(row)


@functools.lru_cache(maxsize=OPEN_SHARDS)
def _shard(url: str) -> Any:
  """The records of a shard, which stay readable when the cache drops its file."""
  from array_record.python.array_record_data_source import ArrayRecordDataSource

  opened = ArrayRecordDataSource([os.fspath(storage.local(url))])
  opened[0]  # opens the file, which the cache may remove
  return opened


def preparable(table: Mapping[str, type]) -> dict[str, type[FileDataset]]:
  """Chooses the data sets of a table that have a prepared form."""
  return {name: cls for name, cls in table.items() if getattr(cls, "preparable", False)}


def to_metadata(listings: Mapping[str, Listing]) -> dict[str, Any]:
  """Describes listings as JSON, which TFDS keeps beside the records.

  A record is its name and, by image name, its files.
  """
  metadata = {part: dataclasses.asdict(listing) for part, listing in listings.items()}
  for fields in metadata.values():
    fields["records"] = [{"name": r["name"], **r["files"]} for r in fields["records"]]
  return metadata


def from_metadata(metadata: Mapping[str, Any]) -> dict[str, Listing]:
  """Inverts `to_metadata`."""
  listings = {}
  for part, fields in metadata.items():
    records = tuple(
      Record(r["name"], {image: File(**file) for image, file in r.items() if image != "name"})
      for r in fields["records"]
    )
    listings[part] = Listing(records, tuple(fields["problems"]), tuple(fields["strays"]))
  return listings


@functools.lru_cache(maxsize=4)
def _prepared(directory: str) -> _Prepared:
  import tensorflow_datasets as tfds  # here, since it is slow and no other data set needs it

  builder = tfds.builder_from_directory(os.fspath(_described(directory)))
  listings = from_metadata(builder.info.metadata["listings"])
  raw = {name: tfds.decode.SkipDecoding() for name in builder.info.features if name != "name"}
  if storage.is_remote(directory):
    parts = {part: _Shards.of(builder.info, part, directory, raw) for part in listings}
  else:
    parts = {part: builder.as_data_source(part, decoders=raw) for part in listings}
  places = {
    file.path: (part, row, record.name, image)
    for part, listing in listings.items()
    for row, record in enumerate(listing.records)
    for image, file in record.files.items()
  }
  ends = {p: list(itertools.accumulate(builder.info.splits[p].shard_lengths)) for p in listings}
  return _Prepared(listings, parts, places, ends)
