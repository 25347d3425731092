"""Harvard (AANLIB) medical pairs: CT-MRI, PET-MRI, SPECT-MRI, and all three together."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, Record, files_in, pair_folders, shorten
from cfi_jax.data.source import PairDataset, hold_out, require_fraction

_SPLIT_BY = ("case", "shipped")


@dataclasses.dataclass(frozen=True)
class Medical(PairDataset):
  """{PAIR}/{train,test}/{MRI,<other>}/NAME.png below the root; the other image is `visible`.

  NAME is a case number and a three-digit slice. Every shipped test slice has neighbours of its case
  in the shipped train folder, so the shipped split leaks. Abstract: which pairs, says a subclass.

  split_by: "case": test is `test_fraction` of all cases, whole, of both shipped folders, so no case
    is in two splits. "shipped": the folders as they are; `test_fraction` is then not used.
    Validation is a fraction of the remaining cases, whole, either way.
  """

  split_by: str
  test_fraction: float

  stem: ClassVar[re.Pattern] = re.compile(r"(\d+)(\d{3})")

  def __post_init__(self):
    """Raises InputError for an unknown way to split or a bad fraction."""
    super().__post_init__()
    require_fraction("test_fraction", self.test_fraction)
    if self.split_by not in _SPLIT_BY:
      raise InputError(f"split_by={self.split_by!r}: must be one of {', '.join(_SPLIT_BY)}")

  def group(self, name: str) -> str:
    """The case number of a slice; raises InputError for a name that has none."""
    match = self.stem.fullmatch(name)
    if match is None:
      raise InputError(f"{name}: expected a case number followed by a three-digit slice")
    return match[1]

  def needs(self, split: str) -> tuple[str, ...]:
    """Splitting by case looks at all shipped pairs."""
    return self.parts if self.split_by == "case" else super().needs(split)

  def arrange(self, parts: Mapping[str, tuple[Record, ...]]) -> dict[str, tuple[Record, ...]]:
    """By case: all shipped pairs are pooled and split anew."""
    if self.split_by == "shipped":
      return super().arrange(parts)
    pooled = sorted((record for part in parts.values() for record in part), key=lambda r: r.name)
    twice = sorted({a.name for a, b in zip(pooled, pooled[1:], strict=False) if a.name == b.name})
    if twice:
      raise InputError(f"{self.title}: slices in both train and test: {shorten(twice)}")
    train, test = self._hold_out(pooled)
    return super().arrange({"train": train, "test": test})

  def _hold_out(self, pooled: Iterable[Record]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """`test_fraction` of the cases, whole."""
    return hold_out(pooled, self.test_fraction, self.group, "test_fraction")


class OneKind(Medical):
  """The pairs of MRI with one other kind of image."""

  folder: ClassVar[str]
  visible: ClassVar[str]

  def listing(self, part: str) -> Listing:
    """The pairs of one shipped folder; other files in it are strays."""
    base = os.path.join(self.folder, part)
    pairs = pair_folders(
      self.directory, os.path.join(base, self.visible), os.path.join(base, "MRI")
    )
    images, others = files_in(self.directory, base)
    strays = sorted([*pairs.strays, *(file.path for file in (*images, *others))])
    return dataclasses.replace(pairs, strays=tuple(strays))


class CtMri(OneKind):
  """CT (visible role) with MRI, both grey: 160 and 24 slices of 10 cases."""

  folder = "CT-MRI"
  visible = "CT"


class PetMri(OneKind):
  """PET in colour (visible role) with MRI: 245 and 24 slices of 3 cases."""

  folder = "PET-MRI"
  visible = "PET"


class SpectMri(OneKind):
  """SPECT in colour (visible role) with MRI: 333 and 24 slices of 15 cases."""

  folder = "SPECT-MRI"
  visible = "SPECT"


class Harvard(Medical):
  """All three kinds, for one network: 738 and 72 slices, named KIND_NAME.

  By case: test is what each kind for itself holds out, and train is without those cases, of
  whichever kind: one number may be one patient.
  """

  kinds: ClassVar[tuple[type[OneKind], ...]] = (CtMri, PetMri, SpectMri)
  stem: ClassVar[re.Pattern] = re.compile(rf"[A-Z]+-MRI_{Medical.stem.pattern}")

  def listing(self, part: str) -> Listing:
    """The pairs of that shipped folder of every kind."""
    options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    listings = {kind.folder: kind(**options).listing(part) for kind in self.kinds}
    return Listing(
      records=tuple(
        dataclasses.replace(record, name=f"{folder}_{record.name}")
        for folder, listing in listings.items()
        for record in listing.records
      ),
      problems=tuple(problem for listing in listings.values() for problem in listing.problems),
      strays=tuple(stray for listing in listings.values() for stray in listing.strays),
    )

  def _hold_out(self, pooled: Iterable[Record]) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """`test_fraction` of the cases of each kind."""
    pooled, test = tuple(pooled), []
    for kind in self.kinds:
      own = [record for record in pooled if record.name.startswith(f"{kind.folder}_")]
      test += hold_out(own, self.test_fraction, self.group, f"{kind.folder}: test_fraction")[1]
    cases = {self.group(record.name) for record in test}
    train = tuple(record for record in pooled if self.group(record.name) not in cases)
    if not train:
      raise InputError(f"test_fraction={self.test_fraction} holds out cases of all slices")
    return train, tuple(test)
