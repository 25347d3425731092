"""Any two folders of images with equal names."""

import dataclasses
from collections.abc import Mapping

from cfi_jax.data import naming
from cfi_jax.data.listing import Listing
from cfi_jax.data.matching import match_folders
from cfi_jax.datasets.files import FileDataset


@dataclasses.dataclass(frozen=True)
class Folder(FileDataset):
  """A visible and an infrared folder, with those below them, paired by name; extensions may differ.

  All pairs are for training, less those held out for validation.
  visible, infrared: the two folders, below `root` or absolute; they may be one.
  visible_prefix ... match: the rule of names, see `naming.FLAGS`.
  """

  visible: str
  infrared: str
  visible_prefix: str
  visible_suffix: str
  infrared_prefix: str
  infrared_suffix: str
  match: str

  name = "folder"
  parts = ("train",)
  preparable = False

  @property
  def chosen(self) -> Mapping[str, str]:
    """The two folders."""
    return {"visible": self.visible, "infrared": self.infrared}

  def listing(self, part: str) -> Listing:
    """Lists the pairs of the two folders; raises InputError for a rule that none can follow."""
    rule = naming.from_options(dataclasses.asdict(self), "--config.data.")
    return match_folders(self.directory, self.chosen, rule)
