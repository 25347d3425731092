"""Data sets of pictures with keypoints, whatever their layout: splits, pairs and support."""

import abc
import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data import augment
from cfi_jax.data.listing import Listing, Record, require, shorten
from cfi_jax.data.source import FileSource
from cfi_jax.data.threads import each
from cfi_jax.datasets.files import FileDataset
from cfi_jax.datasets.posed import keypoints as readers
from cfi_jax.datasets.posed.source import ROLES, PosedSource
from cfi_jax.datasets.splits import require_split
from cfi_jax.images.read import read_header

SUPPORT = "support"


class PeopleWarning(UserWarning):
  """Keypoint files with several people, or with nobody."""


class Annotated(NamedTuple):
  """The records of a part, and the keypoints [18, 3] of their pictures by path."""

  listing: Listing
  keypoints: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Posed(FileDataset, abc.ABC):
  """Pictures of people with keypoints in files. Records are pictures "source" and "target".

  Both show one person, and the source is the answer, too. The split "support" has records of
  pictures of "train" that show different people, where there are several, and no answer.

  size: of the squares that pictures are padded and scaled to, a multiple of 8.
  support: records of the split "support". seed: by which they are drawn.
  """

  size: int
  support: int
  seed: int

  preparable: ClassVar[bool] = False

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    super().__post_init__()
    if type(self.size) is not int or self.size % 8 or not 16 <= self.size <= 1024:
      raise InputError(f"data.size is {self.size!r}; allowed: a multiple of 8 from 16 to 1024")
    for name in ("support", "seed"):
      value = getattr(self, name)
      if type(value) is not int or not 0 <= value < 2**31:
        raise InputError(f"data.{name} is {value!r}; allowed: a whole number from 0")

  @abc.abstractmethod
  def annotated(self, part: str) -> Annotated:
    """Lists a part with its keypoints; raises InputError where that cannot be begun."""

  @property
  def splits(self) -> tuple[str, ...]:
    """Names of the splits that `source` offers."""
    return (*super().splits, *((SUPPORT,) if self.support else ()))

  def listing(self, part: str) -> Listing:
    """Lists the records of a part, with all that is wrong with its keypoints."""
    return self.annotated(part).listing

  def grouping(self, records: tuple[Record, ...]) -> Callable[[str], str]:
    """Names the people: pictures that records connect show one person; f(record) -> person."""
    return _people(records).__getitem__

  def source(self, split: str) -> PosedSource:
    """Opens a split: reads the keypoints of its part. Raises InputError saying what is wrong."""
    require_split(split, self.title, self.splits)
    (part,) = self.needs(split)
    title, found = f"{self.title} {split}", self.annotated(part)
    require({part: found.listing}, title)
    for note in found.listing.notes:
      warnings.warn(f"{title}: {note}", PeopleWarning, stacklevel=2)
    records = self.arrange({part: found.listing.records})["train" if split == SUPPORT else split]
    if split == SUPPORT:
      records = self._unpaired(records)
    files = FileSource(title, self.store, records, colour=ROLES)
    return PosedSource(files, found.keypoints, self.size, paired=split != SUPPORT)

  def _unpaired(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Records of two pictures, of different people where there are several."""
    person = _people(records)
    pictures = {f.path: (person[r.name], f) for r in records for f in r.files.values()}
    files = [pictures[path] for path in sorted(pictures, key=lambda p: (pictures[p][0], p))]
    groups = np.array([group for group, _ in files])
    first, last = (np.searchsorted(groups, groups, side) for side in ("left", "right"))
    if len(set(groups)) == 1:
      first, last = np.arange(len(files)), np.arange(len(files)) + 1
    drawn = []
    for index in range(self.support):
      bits = [int(b) for b in augment.raw_bits(self.seed, (index,), 2)]
      target = bits[0] % len(files)
      low, high = int(first[target]), int(last[target])
      source = bits[1] % (len(files) - (high - low))
      source += (high - low) * (source >= low)
      both = {"source": files[source][1], "target": files[target][1]}
      drawn.append(Record(f"{SUPPORT}-{index:06d}", both))
    return tuple(drawn)

  def outside(self, keypoints: Mapping[str, np.ndarray]) -> list[str]:
    """Sentences on points beyond their pictures; leaves out pictures that cannot be read."""

    def look(path: str) -> str:
      try:
        with self.store.open(path) as stream:
          header = read_header(stream, self.store.label(path))
      except InputError:
        return ""
      beyond = readers.outside(keypoints[path], header.width, header.height)
      size = f"{header.width}x{header.height}"
      return f"{path} has {size} pixels, and {', '.join(beyond)}" if beyond else ""

    found = [s for s in each(look, sorted(keypoints), f"checking {self.title}", "picture") if s]
    return sentence("points outside of their picture", found)

  def text(self, path: str) -> str:
    """The text of a file below the root; raises InputError naming it."""
    try:
      with self.store.open(path) as stream:
        return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
      raise InputError(f"{self.store.label(path)}: is no text ({error.reason})") from error


def _people(records: tuple[Record, ...]) -> dict[str, str]:
  """A person by the name of each record: the first picture, by its path, of those connected."""
  first: dict[str, str] = {}

  def find(path: str) -> str:
    while first.setdefault(path, path) != path:
      first[path] = first[first[path]]
      path = first[path]
    return path

  for record in records:
    low, high = sorted(find(file.path) for file in record.files.values())
    first[high] = low
  return {record.name: find(record.files["source"].path) for record in records}


def sentence(what: str, names: Sequence[str]) -> list[str]:
  """One sentence on names with their number, or none where there are none."""
  return [f"{what} ({len(names)}): {shorten(names)}"] if names else []
