"""Splits of paired images with random access, the same for folders and prepared datasets."""

import abc
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import tqdm

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, FolderStore, Listing, Record, Store, require
from cfi_jax.images import read as images

SPLITS = ("train", "validation", "test")
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Sample:
  """One pair as read: luma [H, W, 1] of one size, each uint8 or uint16 as stored."""

  name: str
  visible: np.ndarray
  infrared: np.ndarray


@dataclasses.dataclass(frozen=True)
class Headers:
  """What the headers of one pair tell; both images have one size."""

  visible: images.Header
  infrared: images.Header


@dataclasses.dataclass(frozen=True)
class Source:
  """The pairs of one split, read on access and sorted by name."""

  title: str
  store: Store
  records: tuple[Record, ...]
  strays: tuple[str, ...]

  @property
  def names(self) -> tuple[str, ...]:
    """The pairs' names, in order."""
    return tuple(record.name for record in self.records)

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Sample:
    """Reads a pair; raises InputError naming the file that cannot be used."""
    visible, infrared = map(images.luma, self.read(index))
    return Sample(self.records[index].name, visible, infrared)

  def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of a pair as stored, [H, W, channels] of one size; raises like indexing."""
    record = self.records[index]
    visible, infrared = (self._decode(file) for file in (record.visible, record.infrared))
    self._require_equal(record, visible.shape[:2], infrared.shape[:2])
    return visible, infrared

  def fingerprint(self) -> str:
    """SHA-256 (hex) of the sorted relative file names and their sizes in bytes."""
    files = [file for record in self.records for file in (record.visible, record.infrared)]
    lines = sorted(f"{file.path}\t{file.bytes}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()

  def check_headers(self) -> tuple[Headers, ...]:
    """Looks at every file, and tells its size and depth: it opens, is whole, and its partner has
    the same size.

    Reads headers and end markers, so thousands of pairs take seconds; damage inside a file is
    found by `python -m cfi_jax.check`. Raises one InputError that lists up to 20 problems.
    """
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as pool:
      results = pool.map(self._headers, self.records)
      bar = tqdm.tqdm(results, f"checking {self.title}", len(self), unit="pair", delay=2)
      found = list(bar)
    problems = [headers for headers in found if isinstance(headers, str)]
    if problems:
      more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
      title = f"{self.title}: {len(problems)} of {len(self)} pairs cannot be used"
      raise InputError("\n  ".join([title, *problems[:_SHOWN], *more]))
    return tuple(found)

  def _headers(self, record: Record) -> Headers | str:
    """The headers, or what is wrong with the pair."""
    try:
      headers = []
      for file in (record.visible, record.infrared):
        with self.store.open(file.path) as stream:
          headers.append(images.read_header(stream, self.store.label(file.path)))
      self._require_equal(record, *((header.height, header.width) for header in headers))
    except InputError as error:
      return str(error)
    return Headers(*headers)

  def _decode(self, file: File) -> np.ndarray:
    with self.store.open(file.path) as stream:
      return images.decode(stream, self.store.label(file.path))

  def _require_equal(self, record: Record, visible: tuple, infrared: tuple) -> None:
    if visible != infrared:
      described = [
        f"{self.store.label(file.path)} has {height} rows and {width} columns"
        for file, (height, width) in ((record.visible, visible), (record.infrared, infrared))
      ]
      raise InputError(f"a pair must have one size, but {', '.join(described)}")


@dataclasses.dataclass(frozen=True)
class PairDataset(abc.ABC):
  """What datasets of image files share: the shipped parts, and the splits made of them.

  root: folder of the dataset.
  validation_fraction: part of the training groups held out for validation, in [0, 1).
  """

  root: str
  validation_fraction: float

  parts: ClassVar[tuple[str, ...]] = ("train", "test")  # the lists of pairs the dataset ships

  def __post_init__(self):
    """Raises InputError for a fraction outside [0, 1)."""
    require_fraction("validation_fraction", self.validation_fraction)

  @property
  def title(self) -> str:
    """The dataset's name in messages."""
    return type(self).__name__

  @property
  def directory(self) -> str:
    """The root as a path, with ~ expanded."""
    return os.path.expanduser(self.root)

  @property
  def store(self) -> Store:
    """Where the files of the listings are opened."""
    return FolderStore(self.directory)

  @property
  def splits(self) -> tuple[str, ...]:
    """The splits that `source` offers."""
    held_out = self.validation_fraction > 0 and "train" in self.parts
    return tuple(s for s in SPLITS if s in self.parts or (s == "validation" and held_out))

  @abc.abstractmethod
  def listing(self, part: str) -> Listing:
    """The pairs of one shipped part; raises InputError when its folders are missing."""

  def group(self, name: str) -> str:
    """What must stay together when pairs are split: here each pair for itself."""
    return name

  def needs(self, split: str) -> tuple[str, ...]:
    """The shipped parts that a split is made of."""
    return ("test",) if split == "test" else ("train",)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """Makes the splits out of the shipped parts (those given)."""
    splits = dict(parts)
    if "train" in parts and self.validation_fraction > 0:
      splits["train"], splits["validation"] = hold_out(
        parts["train"], self.validation_fraction, self.group, "validation_fraction"
      )
    return splits

  def source(self, split: str) -> Source:
    """Opens a split: lists and pairs its files. Raises InputError saying what is wrong."""
    if split not in self.splits:
      raise InputError(f"{self.title} has no split {split!r}; it offers {', '.join(self.splits)}")
    listings = {part: self.listing(part) for part in self.needs(split)}
    title = f"{self.title} {split}"
    require(listings, title)
    records = self.arrange({part: listing.records for part, listing in listings.items()})[split]
    strays = sorted({stray for listing in listings.values() for stray in listing.strays})
    return Source(title, self.store, records, tuple(strays))


def hold_out(
  records: Iterable[Record], fraction: float, group: Callable[[str], str], what: str
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
  """Splits records into (kept, held out): `fraction` of the groups, at least one, is held out.

  Which groups is fixed by a hash of their names alone: no seed, no order of the files. Raises
  InputError, naming the option `what`, when no group would be kept.
  """
  records = tuple(records)
  groups = sorted({group(record.name) for record in records}, key=_stable_hash)
  count = max(1, round(fraction * len(groups)))
  if count >= len(groups):
    raise InputError(f"{what}={fraction} would hold out all {len(groups)} groups of images")
  chosen = set(groups[:count])
  kept = tuple(record for record in records if group(record.name) not in chosen)
  return kept, tuple(record for record in records if group(record.name) in chosen)


def require_fraction(what: str, value: float) -> None:
  """Raises InputError unless 0 <= value < 1."""
  if not 0 <= value < 1:
    raise InputError(f"{what}={value}: must be in [0, 1)")


def _stable_hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
