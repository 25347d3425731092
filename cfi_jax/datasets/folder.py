"""Any two folders of images with equal names."""

import dataclasses
from typing import ClassVar

from cfi_jax.data.listing import Listing, pair_folders
from cfi_jax.data.source import PairDataset


@dataclasses.dataclass(frozen=True)
class Folder(PairDataset):
  """A visible and an infrared folder, paired by file stem; extensions may differ.

  All pairs are for training, less those held out for validation.
  visible, infrared: the two folders, below `root` or absolute.
  """

  visible: str
  infrared: str

  parts: ClassVar[tuple[str, ...]] = ("train",)

  def listing(self, part: str) -> Listing:
    """The pairs of the two folders."""
    return pair_folders(self.directory, self.visible, self.infrared)
