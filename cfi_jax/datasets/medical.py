"""Harvard (AANLIB) medical pairs: CT-MRI, PET-MRI, SPECT-MRI, and all three together."""

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, Record, files_in, shorten
from cfi_jax.data.matching import match_folders
from cfi_jax.datasets.files import NOT_VALIDATED, FileDataset
from cfi_jax.datasets.splits import hold_out, require_fraction

_SPLIT_BY = ("case", "shipped")
_STEM = re.compile(r"(?:[A-Z]+-MRI_)?(\d+)\d{3}")


@dataclasses.dataclass(frozen=True)
class Medical(FileDataset):
  """{KIND}-MRI/{train,test}/{MRI,KIND}/NAME.png below the root; the other image is `visible`.

  NAME is a case number and a three-digit slice. Every shipped test slice has neighbours of its case
  in the shipped train folder, so the shipped split leaks. Abstract: a subclass has its kinds. The
  names of records of several kinds begin with KIND-MRI_.

  split_by: "case": test is `test_fraction` of the cases of each kind, whole, of both shipped
    folders, and train is without these cases, of whichever kind: one number may be one patient.
    "shipped": the folders as they are; `test_fraction` is then not used.
    Validation is a fraction of the remaining cases of each kind, whole, either way, less those
    that are test cases of another kind.
  """

  split_by: str
  test_fraction: float

  layout = {"visible": "{kind}-MRI/{part}/{kind}", "infrared": "{kind}-MRI/{part}/MRI"}
  kinds: ClassVar[tuple[str, ...]]

  def __post_init__(self):
    """Raises InputError for an unknown way to split or a bad fraction."""
    super().__post_init__()
    require_fraction("test_fraction", self.test_fraction)
    if self.split_by not in _SPLIT_BY:
      raise InputError(f"split_by={self.split_by!r}: must be one of {', '.join(_SPLIT_BY)}")

  def listing(self, part: str) -> Listing:
    """Lists the pairs of one shipped folder of every kind; other files in it are strays."""
    records, problems, strays = [], [], []
    for kind in self.kinds:
      folders = {image: f.format(kind=kind, part=part) for image, f in self.layout.items()}
      pairs = match_folders(self.directory, folders)
      images, others = files_in(self.directory, f"{kind}-MRI/{part}", subfolders=False)
      prefix = self._prefix(kind)
      records += [dataclasses.replace(r, name=prefix + r.name) for r in pairs.records]
      problems += pairs.problems
      strays += [*pairs.strays, *(file.path for file in (*images, *others))]
    return Listing(tuple(records), tuple(problems), tuple(sorted(strays)))

  def group(self, name: str) -> str:
    """Returns the case number of a slice; raises InputError for a name that has none."""
    match = _STEM.fullmatch(name)
    if match is None:
      raise InputError(f"{name}: expected a case number followed by a three-digit slice")
    return match[1]

  def needs(self, split: str) -> tuple[str, ...]:
    """Names all shipped parts where they are split by case."""
    return self.parts if self.split_by == "case" else super().needs(split)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """Makes the splits, of each kind as its set by itself has them.

    A case number that several kinds have is held out of training in all of them and, by case, out
    of validation where it is in a test. Raises InputError where a kind has nothing left to train
    on; of its validation nothing may be left.
    """
    splits, order = dict(parts), ("validation", "train")
    if self.split_by == "case":
      order = ("test", *order)
      splits["train"], splits["test"] = self._hold_out(
        _pooled(parts, self.title), self.test_fraction, "test_fraction"
      )
    if "train" in splits and self.validation_fraction > 0:
      splits["train"], splits["validation"] = self._hold_out(
        splits["train"], self.validation_fraction, "validation_fraction", NOT_VALIDATED
      )
    return self._apart(splits, order)

  def _apart(
    self, splits: dict[str, tuple[Record, ...]], order: tuple[str, ...]
  ) -> dict[str, tuple[Record, ...]]:
    """Takes out of every split, in that order, the cases that those before it have."""
    taken: set[str] = set()
    for split in [split for split in order if split in splits]:
      if taken:
        splits[split] = tuple(r for r in splits[split] if self.group(r.name) not in taken)
      if split != "train":
        taken |= {self.group(record.name) for record in splits[split]}
    for kind in self.kinds if taken else ():
      if not any(record.name.startswith(self._prefix(kind)) for record in splits["train"]):
        raise InputError(
          f"{self.title}: no case of {kind}-MRI is left to train on, since "
          f"{shorten(sorted(taken))} are held out by test_fraction={self.test_fraction} and "
          f"validation_fraction={self.validation_fraction}"
        )
    return splits

  def _hold_out(
    self, records: tuple[Record, ...], fraction: float, what: str, way_out: str = ""
  ) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Splits records into (kept, held out), of each kind `fraction` of its cases."""
    kept, held_out = [], []
    for kind in self.kinds:
      own = [record for record in records if record.name.startswith(self._prefix(kind))]
      halves = hold_out(own, fraction, self.group, f"{kind}-MRI: {what}", way_out)
      kept += halves[0]
      held_out += halves[1]
    return tuple(kept), tuple(held_out)

  def _prefix(self, kind: str) -> str:
    """Begins the names of records of that kind; nothing where there is no other kind."""
    return f"{kind}-MRI_" if len(self.kinds) > 1 else ""


def _pooled(parts: Mapping[str, tuple[Record, ...]], title: str) -> tuple[Record, ...]:
  """All records, by name; raises InputError for one that is in two parts."""
  pooled = sorted((record for part in parts.values() for record in part), key=lambda r: r.name)
  twice = sorted({a.name for a, b in zip(pooled, pooled[1:], strict=False) if a.name == b.name})
  if twice:
    raise InputError(f"{title}: slices in both train and test: {shorten(twice)}")
  return tuple(pooled)


class CtMri(Medical):
  """CT (visible role) with MRI, both grey: 160 and 24 slices of 10 cases."""

  name = "ct_mri"
  kinds = ("CT",)


class PetMri(Medical):
  """PET in colour (visible role) with MRI: 245 and 24 slices of 3 cases."""

  name = "pet_mri"
  kinds = ("PET",)


class SpectMri(Medical):
  """SPECT in colour (visible role) with MRI: 333 and 24 slices of 15 cases."""

  name = "spect_mri"
  kinds = ("SPECT",)


class Harvard(Medical):
  """All three kinds, for one network: 738 and 72 slices."""

  name = "harvard"
  kinds = ("CT", "PET", "SPECT")
  preparable = False
