"""Visible and infrared data sets in the layouts their authors ship."""

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing
from cfi_jax.datasets import lists as lists_lib
from cfi_jax.datasets.files import FileDataset


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
    lists = {
      name: lists_lib.read_names(
        storage.path(self.directory, f"{name}.txt"), "RoadScene", self.parts
      )
      for name in self.parts
    }
    return lists_lib.select(super().listing(part), part, lists)
