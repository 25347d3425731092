"""Degraded pairs with clean ones of the same scenes, and what their fusion should look like."""

import dataclasses
import os

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, Record
from cfi_jax.data.matching import match_folders
from cfi_jax.datasets.files import FileDataset

IMAGES = ("visible", "infrared", "clean_visible", "clean_infrared", "pseudo")


@dataclasses.dataclass(frozen=True)
class Degraded(FileDataset):
  """Folders of five images of each scene, matched by file stem, for one or several weathers.

  All records are for training, less those held out: of a scene all weathers.
  weathers: folders below `root`, such as ("Snow", "Rain"); "." is the root itself.
  visible, infrared: folders of degraded images below each weather. clean_visible, clean_infrared:
    of the same scenes without weather. pseudo: of pseudo ground truth, a fusion of the clean ones.
  """

  weathers: tuple[str, ...]
  visible: str
  infrared: str
  clean_visible: str
  clean_infrared: str
  pseudo: str

  name = "degraded"
  parts = ("train",)
  preparable = False

  def __post_init__(self):
    """Raises InputError where no weather is named, or one twice."""
    super().__post_init__()
    if not self.weathers or len(set(self.weathers)) < len(self.weathers):
      raise InputError(
        f"data.weathers is {self.weathers!r}; allowed: one or more folders below data.root, each "
        "once"
      )

  def listing(self, part: str) -> Listing:
    """Lists the records of all weathers, named WEATHER-STEM; of the root itself, STEM."""
    records, problems, strays = [], [], []
    for weather in self.weathers:
      # Names such as ../clear lead to a folder beside the weather's.
      given = {name: storage.join(weather, getattr(self, name)) for name in IMAGES}
      folders = {n: f if storage.is_remote(f) else os.path.normpath(f) for n, f in given.items()}
      found = match_folders(self.directory, folders)
      prefix = "" if weather == "." else f"{weather.replace(os.sep, '-')}-"
      records += [Record(prefix + record.name, record.files) for record in found.records]
      problems += found.problems
      strays += found.strays
    return Listing(tuple(records), tuple(problems), tuple(strays))

  def group(self, name: str) -> str:
    """Names the scene of a record, which has one file stem in all weathers."""
    prefixes = (f"{weather.replace(os.sep, '-')}-" for weather in self.weathers)
    prefix = next((p for p in prefixes if name.startswith(p)), "")
    return name.removeprefix(prefix)
