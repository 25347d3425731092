"""Data sets of image files: shipped parts, listed by name, and the splits made of them."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import ClassVar

from cfi_jax.data.listing import FolderStore, Listing, Record, Store, require
from cfi_jax.data.matching import match_folders
from cfi_jax.data.source import FileSource
from cfi_jax.datasets.splits import SPLITS, hold_out, require_fraction, require_split

# The way out where validation would take all of the training records.
NOT_VALIDATED = "; validation_fraction=0.0 holds none out, and nothing is validated on"


@dataclasses.dataclass(frozen=True)
class Examined:
  """Contents of a record's annotations: sentences on what is wrong, and names of the classes."""

  problems: tuple[str, ...] = ()
  classes: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class FileDataset:
  """A data set of image files. A subclass names its layout; all else follows from that.

  root: folder of the data set.
  validation_fraction: part of the training groups held out for validation, in [0, 1).

  name: the data set in configs, and its TFDS builder. layout: the folder below the root of each
  image of a record, by image name; "{part}" becomes the shipped part. parts: the lists of records
  it ships. preparable: whether `python -m cfi_jax.prepare` writes it as TFDS records.
  annotations: names of a record's files that are no pictures to fuse; `examine` knows them.
  """

  root: str
  validation_fraction: float

  name: ClassVar[str]
  layout: ClassVar[Mapping[str, str]] = {}
  parts: ClassVar[tuple[str, ...]] = ("train", "test")
  preparable: ClassVar[bool] = True
  annotations: ClassVar[tuple[str, ...]] = ()

  def __post_init__(self):
    """Raises InputError for a fraction outside [0, 1)."""
    require_fraction("validation_fraction", self.validation_fraction)

  @property
  def title(self) -> str:
    """Name of the data set in messages."""
    return type(self).__name__

  @property
  def directory(self) -> str:
    """Path of the root, with ~ expanded."""
    return os.path.expanduser(self.root)

  @property
  def store(self) -> Store:
    """Opens the files of the listings."""
    return FolderStore(self.directory)

  @property
  def chosen(self) -> Mapping[str, str]:
    """Folders that the user chose, by image name, see `FileSource.folders`."""
    return {}

  @property
  def splits(self) -> tuple[str, ...]:
    """Names of the splits that `source` offers."""
    held_out = self.validation_fraction > 0 and "train" in self.parts
    return tuple(s for s in SPLITS if s in self.parts or (s == "validation" and held_out))

  def listing(self, part: str) -> Listing:
    """Lists the records of one shipped part; raises InputError when its folders are missing."""
    folders = {image: folder.format(part=part) for image, folder in self.layout.items()}
    return match_folders(self.directory, folders)

  def group(self, name: str) -> str:
    """Names the group of a record, which no split divides: here each record for itself."""
    return name

  def grouping(self, records: tuple[Record, ...]) -> Callable[[str], str]:
    """Names the groups of these records, by which some are held out: f(name) -> group."""
    del records
    return self.group

  def needs(self, split: str) -> tuple[str, ...]:
    """Names the shipped parts that a split is made of."""
    return ("test",) if split == "test" else ("train",)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """Makes the splits out of the shipped parts (those given)."""
    splits = dict(parts)
    if "train" in parts and self.validation_fraction > 0:
      splits["train"], splits["validation"] = hold_out(
        parts["train"],
        self.validation_fraction,
        self.grouping(parts["train"]),
        "validation_fraction",
        NOT_VALIDATED,
      )
    return splits

  def source(self, split: str) -> FileSource:
    """Opens a split: lists and matches its files. Raises InputError saying what is wrong."""
    require_split(split, self.title, self.splits)
    listings = {part: self.listing(part) for part in self.needs(split)}
    title = f"{self.title} {split}"
    require(listings, title)
    parts = {part: listing.records for part, listing in listings.items()}
    return self.open(title, self.arrange(parts)[split])

  def open(self, title: str, records: tuple[Record, ...]) -> FileSource:
    """Opens records of the data set as a source."""
    return FileSource(title, self.store, records, folders=self.chosen)

  @property
  def known_classes(self) -> tuple[str, ...]:
    """Names of the classes that `annotations` may show."""
    return ()

  def examine(self, record: Record) -> Examined:
    """Reads the files of a record in `annotations`."""
    del record
    return Examined()
