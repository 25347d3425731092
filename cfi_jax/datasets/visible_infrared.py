"""Visible and infrared data sets in the layouts their authors ship."""

from pathlib import Path

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.datasets.files import FileDataset
from cfi_jax.images.read import EXTENSIONS


class Msrs(FileDataset):
  """MSRS, {train,test}/{vi,ir}/NAME.png: 1083 and 361 pairs of 480 x 640."""

  name = "msrs"
  layout = {"visible": "{part}/vi", "infrared": "{part}/ir"}


class Llvip(FileDataset):
  """LLVIP, {visible,infrared}/{train,test}/NAME.jpg: 12025 and 3463 pairs of 1024 x 1280."""

  name = "llvip"
  layout = {"visible": "visible/{part}", "infrared": "infrared/{part}"}


class M3fd(FileDataset):
  """M3FD, Vis/NAME.png and Ir/NAME.png; it ships no test list, so all pairs are for training."""

  name = "m3fd"
  layout = {"visible": "Vis", "infrared": "Ir"}
  parts = ("train",)


class Tno(FileDataset):
  """TNO as 42 pairs of odd sizes, vi/NN.png and ir/NN.png: a test set only.

  validation_fraction must be 0: there is nothing to hold out of.
  """

  name = "tno"
  layout = {"visible": "vi", "infrared": "ir"}
  parts = ("test",)

  def __post_init__(self):
    """Raises InputError for a validation fraction."""
    if self.validation_fraction != 0:
      raise InputError(
        f"Tno has a test list only: validation_fraction={self.validation_fraction} must be 0"
      )


class RoadScene(FileDataset):
  """RoadScene, crop_LR_visible/ and cropinfrared/NAME.jpg, 221 pairs of different sizes.

  train.txt and test.txt in the root name the pairs of each split, one per line.
  """

  name = "roadscene"
  layout = {"visible": "crop_LR_visible", "infrared": "cropinfrared"}

  def listing(self, part: str) -> Listing:
    """Lists the pairs that {part}.txt names; images in neither list are strays."""
    whole = super().listing(part)
    lists = {name: set(self._names(name)) for name in self.parts}
    problems = list(whole.problems)
    both = sorted(lists["train"] & lists["test"])
    if both:
      problems.append(f"{len(both)} names are in train.txt and in test.txt: {shorten(both)}")
    named = {PLAIN.key(record.name): record for record in whole.records}
    absent = sorted(lists[part] - set(named))
    if absent:
      problems.append(
        f"{len(absent)} names of {part}.txt have no pair of images: {shorten(absent)}"
      )
    strays = [
      file.path
      for name, record in named.items()
      if name not in lists["train"] | lists["test"]
      for file in record.files.values()
    ]
    chosen = tuple(record for name, record in named.items() if name in lists[part])
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
    stems = (Path(n).stem if Path(n).suffix.lower() in EXTENSIONS else n for n in lines)
    return [PLAIN.key(stem) for stem in stems]
