"""Random access to samples: the protocol of every source, and the source of image files."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Record, Store, enumerate_problems
from cfi_jax.data.threads import each
from cfi_jax.images import read as images
from cfi_jax.images.read import Header


class Source(Protocol):
  """The samples of one split in a fixed order; each has the same images, of one size, by name."""

  @property
  def title(self) -> str:
    """Name of the split in messages."""

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the samples, in order."""

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images to compute with, [H, W, 1] or [H, W, 3] in the type stored, by name.

    What their values mean is said by `data.normalised.Normalised`, which gives uint8 or uint16 and
    over which the engine reads every stream. Raises InputError naming the file that cannot be used.
    """

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images as stored, [H, W, C] with all channels; raises like indexing."""

  def coloured(self, names: tuple[str, ...]) -> "Source":
    """Returns the same samples with those images of `names` that they have as RGB.

    A source without colours returns itself.
    """

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size, depth and channels of every image without decoding it.

    Raises one InputError that lists what is wrong.
    """

  def fingerprint(self) -> str:
    """Returns a SHA-256 (hex) that identifies the samples."""

  def files(self, contents: bool = False) -> dict[str, str]:
    """Returns the identity of every file by its relative name, {} where there are no files.

    An identity is the size in bytes; with `contents` a space and the SHA-256 (hex) follow.
    """

  def formerly(self) -> str:
    """Returns the fingerprint that earlier versions made of the same samples."""


@dataclasses.dataclass(frozen=True)
class Derived:
  """The samples of another source, of which a subclass changes what it computes with."""

  source: Source

  @property
  def title(self) -> str:
    """Name of the split in messages."""
    return self.source.title

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the samples, in order."""
    return self.source.names

  def __len__(self) -> int:
    return len(self.source)

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images as stored."""
    return self.source.read(index)

  def shards(self) -> tuple[int, ...]:
    """Returns the number of the shard that holds each record, () where there are no shards."""
    return getattr(self.source, "shards", tuple)()

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of the samples as stored."""
    return self.source.fingerprint()

  def files(self, contents: bool = False) -> dict[str, str]:
    """Returns the identity of every file as stored; see `Source`."""
    return self.source.files(contents)

  def formerly(self) -> str:
    """Returns the fingerprint that earlier versions made of the samples."""
    return self.source.formerly()


@dataclasses.dataclass(frozen=True)
class FileSource:
  """A `Source` of image files, read on access.

  colour: the images that stay RGB; all others become luma.
  folders: by image name those folders that the user chose, so that their names identify nothing.
  """

  title: str
  store: Store
  records: tuple[Record, ...]
  colour: tuple[str, ...] = ()
  folders: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Raises InputError where `colour` names an image that the records lack."""
    for name in self.colour:
      if self.records and name not in self.records[0].files:
        valid = ", ".join(self.records[0].files)
        raise InputError(f"{self.title}: colour names {name!r}; the images are {valid}")

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the records, in order."""
    return tuple(record.name for record in self.records)

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Reads a record: luma, or RGB where `colour` says so; as in `Source`."""
    return {name: self._to_compute(name, image) for name, image in self.read(index).items()}

  def _to_compute(self, name: str, image: np.ndarray) -> np.ndarray:
    """Returns an image as it is computed with, made of what is stored."""
    return rgb(image) if name in self.colour else images.luma(image)

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Reads a record's images as stored."""
    record = self.records[index]
    found = {name: self._decode(name, file) for name, file in record.files.items()}
    require_one_size(self.store, record, {name: image.shape[:2] for name, image in found.items()})
    return found

  def shards(self) -> tuple[int, ...]:
    """Returns the number of the shard that holds each record, () where there are no shards."""
    firsts = (next(iter(record.files.values())) for record in self.records)
    found = [self.store.shard(file.path) for file in firsts]
    return () if None in found else tuple(found)

  def coloured(self, names: tuple[str, ...]) -> "FileSource":
    """Returns the same records with those images of `names` that they have as RGB."""
    there = self.records[0].files if self.records else ()
    return dataclasses.replace(self, colour=tuple(name for name in names if name in there))

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of the sorted relative file names and their sizes in bytes."""
    return _hash((name, file.bytes) for name, file in self._named())

  def formerly(self) -> str:
    """Returns the fingerprint with the folders' own names, absolute where they were given so."""
    return _hash((file.path, file.bytes) for _, file in self._named())

  def files(self, contents: bool = False) -> dict[str, str]:
    """Returns the identity of every file by its relative name; below `folders` by the image's."""
    named = self._named()
    if not contents:
      return {name: str(file.bytes) for name, file in named}
    hashes = each(self._sha256, [file for _, file in named], f"hashing {self.title}", "file")
    both = zip(named, hashes, strict=True)
    return {name: f"{file.bytes} {digest}" for (name, file), digest in both}

  def _named(self) -> list[tuple[str, File]]:
    """All files with their relative names."""
    return [
      (self._relative(image, file), file)
      for record in self.records
      for image, file in record.files.items()
    ]

  def _relative(self, image: str, file: File) -> str:
    if image not in self.folders:
      return file.path
    return f"{image}/{os.path.relpath(file.path, self.folders[image])}"

  def _sha256(self, file: File) -> str:
    with self.store.open(file.path) as stream:
      return hashlib.file_digest(stream, "sha256").hexdigest()

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Makes sure that every file opens and is whole, and that a record's files have one size.

    Reads headers and end markers, so thousands of records take seconds; damage inside a file is
    found by `python -m cfi_jax.check`. Raises one InputError that lists up to 20 problems.
    """
    found = each(self._headers, self.records, f"checking {self.title}", "record")
    problems = [headers for headers in found if isinstance(headers, str)]
    if problems:
      noun = self.records[0].noun
      title = f"{self.title}: {len(problems)} of {len(self)} {noun}s cannot be used"
      raise InputError(enumerate_problems(title, problems))
    return tuple(found)

  def _headers(self, record: Record) -> dict[str, Header] | str:
    """Returns the headers, or what is wrong with the record."""
    headers = {}
    try:
      for name, file in record.files.items():
        with self.store.peek(file.path) as stream:
          header = images.read_header(stream, self.store.label(file.path))
        headers[name] = dataclasses.replace(header, channels=3 if name in self.colour else 1)
      require_one_size(self.store, record, {n: (h.height, h.width) for n, h in headers.items()})
    except InputError as error:
      return str(error)
    return headers

  def _decode(self, name: str, file: File) -> np.ndarray:
    """Returns the image of that name as stored."""
    del name
    with self.store.open(file.path) as stream:
      return images.decode(stream, self.store.label(file.path))


def require_one_size(store: Store, record: Record, sizes: Mapping[str, tuple[int, int]]) -> None:
  """Raises InputError unless the images of a record have one (height, width); sizes: by name."""
  if len(set(sizes.values())) > 1:
    described = [
      f"{store.label(record.files[name].path)} has {height} rows and {width} columns"
      for name, (height, width) in sizes.items()
    ]
    raise InputError(f"a {record.noun} must have one size, but {', '.join(described)}")


def _hash(files: Iterable[tuple[str, int]]) -> str:
  """Hashes names and sizes in bytes, whatever their order."""
  lines = sorted(f"{name}\t{size}\n" for name, size in files)
  return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def rgb(image: np.ndarray) -> np.ndarray:
  """Returns RGB [H, W, 3] of an image [H, W, C] of 1 (grey), 3 or 4 channels; alpha is dropped."""
  return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]
