"""A source whose images mean 0 to the largest of uint8 or uint16, whatever they were stored as."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.source import Derived, Source
from cfi_jax.data.threads import each
from cfi_jax.images import range_lines, ranges
from cfi_jax.images.ranges import Normalizer
from cfi_jax.images.read import Header


@dataclasses.dataclass(frozen=True)
class Normalised(Derived):
  """A `Source` over another: 8 bits that a rule keeps as they are, all others as uint16.

  stored: headers of `source`. over: "image" or "folder", for messages.
  """

  normalizer: Normalizer
  stored: tuple[dict[str, Header], ...]
  over: str = ranges.OVER[0]

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images to compute with, uint8 or uint16; see `Source`."""
    label = f"{self.title}: {self.names[index]}"
    return {
      name: ranges.to_unsigned(image, name, self.normalizer, label)
      for name, image in self.source[index].items()
    }

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns the headers of the images to compute with; see `Source`."""

    def depth(name: str, header: Header) -> type[np.generic]:
      return np.uint8 if self.normalizer.rule(name).keeps(np.dtype(header.depth)) else np.uint16

    return tuple(
      {n: dataclasses.replace(h, depth=depth(n, h)) for n, h in record.items()}
      for record in self.stored
    )

  @property
  def keeps_all(self) -> bool:
    """Whether every image is taken as it is stored, whatever it holds."""
    return all(
      self.normalizer.rule(name).keeps(np.dtype(header.depth))
      for record in self.stored
      for name, header in record.items()
    )

  @property
  def description(self) -> str:
    """One line on what is done to how many images, told from their headers."""
    types = [(n, np.dtype(h.depth)) for record in self.stored for n, h in record.items()]
    return f"{self.title}: {range_lines.describe_types(types, self.normalizer, self.over)}"


def normalise(
  source: Source, normalize: str, over: str, like: Normalised | None = None
) -> Normalised:
  """The source by the rules `normalize`; over "folder": with one range for all its images.

  like: a normalised source whose ranges over the folder are taken instead. Raises InputError for a
  rule of an image that the records lack, and for files that cannot be used.
  """
  headers = tuple(source.check_headers()) if len(source) else ()
  normalizer = ranges.parse(normalize, list(headers[0]) if headers else None, over)
  if over == ranges.OVER[1] and like is not None:
    normalizer = dataclasses.replace(normalizer, ranges=like.normalizer.ranges)
  elif over == ranges.OVER[1] and any(_is_open(normalizer, record) for record in headers):
    normalizer = _of_folder(source, normalizer, headers)
  return Normalised(source, normalizer, headers, over)


def _is_open(normalizer: Normalizer, record: Mapping[str, Header]) -> bool:
  """Whether what the images of a record hold decides on their ranges."""
  return any(normalizer.rule(n).is_open(np.dtype(h.depth)) for n, h in record.items())


def _of_folder(
  source: Source, normalizer: Normalizer, headers: tuple[dict[str, Header], ...]
) -> Normalizer:
  def summarise(index: int) -> list[tuple[str, np.ndarray, np.dtype]]:
    if not _is_open(normalizer, headers[index]):
      return []
    return [
      (name, ranges.summarise(image), image.dtype)
      for name, image in source[index].items()
      if normalizer.rule(name).is_open(image.dtype)
    ]

  title = f"reading the values of {source.title}"
  found = each(summarise, range(len(source)), title, "record")
  try:
    return normalizer.of_folder(item for items in found for item in items)
  except InputError as error:
    raise InputError(f"{source.title}: {error}") from error
