"""Visible and infrared datasets in the layouts their authors ship."""

import os
from pathlib import Path
from typing import ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, pair_folders, shorten
from cfi_jax.data.source import PairDataset
from cfi_jax.images.read import EXTENSIONS


class Msrs(PairDataset):
  """MSRS, {train,test}/{vi,ir}/NAME.png: 1083 and 361 pairs of 480 x 640."""

  def listing(self, part: str) -> Listing:
    """The pairs of {part}/vi and {part}/ir."""
    return pair_folders(self.directory, os.path.join(part, "vi"), os.path.join(part, "ir"))


class Llvip(PairDataset):
  """LLVIP, {visible,infrared}/{train,test}/NAME.jpg: 12025 and 3463 pairs of 1024 x 1280."""

  def listing(self, part: str) -> Listing:
    """The pairs of visible/{part} and infrared/{part}."""
    folders = os.path.join("visible", part), os.path.join("infrared", part)
    return pair_folders(self.directory, *folders)


class M3fd(PairDataset):
  """M3FD, Vis/NAME.png and Ir/NAME.png; it ships no test list, so all pairs are for training."""

  parts: ClassVar[tuple[str, ...]] = ("train",)

  def listing(self, part: str) -> Listing:
    """The pairs of Vis and Ir; annotations beside them are not looked at."""
    return pair_folders(self.directory, "Vis", "Ir")


class Tno(PairDataset):
  """TNO as 42 pairs of odd sizes, vi/NN.png and ir/NN.png: a test set only.

  validation_fraction must be 0: there is nothing to hold out of.
  """

  parts: ClassVar[tuple[str, ...]] = ("test",)

  def __post_init__(self):
    """Raises InputError for a validation fraction."""
    if self.validation_fraction != 0:
      raise InputError(
        f"Tno has a test list only: validation_fraction={self.validation_fraction} must be 0"
      )

  def listing(self, part: str) -> Listing:
    """The pairs of vi and ir."""
    return pair_folders(self.directory, "vi", "ir")


class RoadScene(PairDataset):
  """RoadScene, crop_LR_visible/ and cropinfrared/NAME.jpg, 221 pairs of different sizes.

  train.txt and test.txt in the root name the pairs of each split, one per line.
  """

  def listing(self, part: str) -> Listing:
    """The pairs that {part}.txt names; images in neither list are strays."""
    whole = pair_folders(self.directory, "crop_LR_visible", "cropinfrared")
    lists = {name: self._names(name) for name in self.parts}
    problems = list(whole.problems)
    both = sorted(set(lists["train"]) & set(lists["test"]))
    if both:
      problems.append(f"{len(both)} names are in train.txt and in test.txt: {shorten(both)}")
    records = {record.name: record for record in whole.records}
    absent = sorted(set(lists[part]) - set(records))
    if absent:
      problems.append(
        f"{len(absent)} names of {part}.txt have no pair of images: {shorten(absent)}"
      )
    unlisted = set(records) - set(lists["train"]) - set(lists["test"])
    strays = [
      file.path for name in unlisted for file in (records[name].visible, records[name].infrared)
    ]
    chosen = tuple(records[name] for name in sorted(set(lists[part]) & set(records)))
    return Listing(chosen, tuple(problems), tuple(sorted([*whole.strays, *strays])))

  def _names(self, part: str) -> list[str]:
    path = Path(self.directory, f"{part}.txt")
    if not path.is_file():
      raise InputError(
        f"{path} is missing: RoadScene needs train.txt and test.txt, one image name per line"
      )
    try:
      lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
      raise InputError(f"{path} cannot be read as text (UTF-8): {error}") from error
    return [Path(n).stem if Path(n).suffix.lower() in EXTENSIONS else n for n in lines]
