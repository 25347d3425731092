"""The part of a `Source` that all generated data sets share: they have no files."""

import abc
import hashlib
from typing import Any, ClassVar

import numpy as np


class Generated(abc.ABC):
  """The records of one split of a data set whose pictures are generated.

  split: its name. dataset: title and options. edition: part of every fingerprint, raised with each
  change that changes a picture.
  """

  split: str
  dataset: Any
  edition: ClassVar[int]

  @property
  def title(self) -> str:
    """Name of the split in messages."""
    return f"{self.dataset.title} {self.split}"

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the records, in order."""
    return tuple(f"{self.split}-{index:06d}" for index in range(len(self)))

  @abc.abstractmethod
  def __len__(self) -> int:
    """Returns the number of records."""

  @abc.abstractmethod
  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a record, uint8 [S, S, C] by name."""

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a record, which are stored as they are computed with."""
    return self[index]

  def coloured(self, names: tuple[str, ...]) -> "Generated":
    """Returns itself: the images have the colours that they have."""
    del names
    return self

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of all options, the split and the edition."""
    described = f"{self.edition}\t{self.split}\t{self.dataset}"
    return hashlib.sha256(described.encode()).hexdigest()

  def files(self, contents: bool = False) -> dict[str, str]:
    """Returns {}: there are no files."""
    del contents
    return {}

  def formerly(self) -> str:
    """Returns the fingerprint, which no version made otherwise."""
    return self.fingerprint()
