"""The data set of pose transfer between characters, whose pictures were rendered beforehand."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any, ClassVar

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.album import Album
from cfi_jax.datasets.figures.transfers import Figures, FigureSource
from cfi_jax.datasets.splits import require_split

FOLDER, MANIFEST = "characters", "characters.json"  # below the root, and in that folder
# Fields that decide on the pictures; the others decide on records made of them.
DRAWN = (
  "size",
  "people",
  "poses",
  "groups",
  "support",
  "held_out_people",
  "held_out_poses",
  "seed",
)
EDITION = 1  # raised with each change that changes a picture


@dataclasses.dataclass(frozen=True)
class Characters(Figures):
  """`Figures` on people of MakeHuman's mesh with Mixamo's rig.

  root: the folder that `python -m cfi_jax.prepare --dataset=characters` wrote to (its --data_dir).
  """

  root: str = dataclasses.field(repr=False)  # where the pictures lie decides on nothing

  name: ClassVar[str] = "characters"
  title: ClassVar[str] = "Characters"

  @property
  def folder(self) -> pathlib.Path:
    """The folder of the pictures."""
    return storage.path(self.root).expanduser() / FOLDER

  @property
  def drawn(self) -> dict[str, Any]:
    """Values that decide on the pictures."""
    return {name: getattr(self, name) for name in DRAWN} | {"edition": EDITION}

  def manifest(self) -> dict[str, Any]:
    """The record written with the pictures: "drawn", and "sha256" by split.

    Raises InputError for other pictures.
    """
    path = self.folder / MANIFEST
    way = f"python -m cfi_jax.prepare --dataset={self.name} --root=WHEEL --data_dir={self.root}"
    if not self.root:
      raise InputError(f"the data root is empty: set config.data.root to the --data_dir of {way}")
    try:
      found = json.loads(path.read_text())
      drawn, digests = found["drawn"], found["sha256"]
    except FileNotFoundError as error:
      raise InputError(f"no characters in {self.folder}; write them with {way}") from error
    except (ValueError, KeyError, TypeError) as error:
      raise InputError(f"{path}: damaged ({error}); remove it, then {way}") from error
    if drawn != self.drawn:
      differing = [
        f"{name} ({drawn.get(name)!r}, {value!r})"
        for name, value in self.drawn.items()
        if drawn.get(name) != value
      ]
      raise InputError(
        f"{self.folder} holds other characters; differences (there, now): {', '.join(differing)}; "
        "give the same values under config.data, or write others to another folder"
      )
    if missing := [split for split in self.splits if split not in digests]:
      raise InputError(f"{self.folder} lacks {', '.join(missing)}; go on with {way}")
    return found

  def source(self, split: str) -> "CharacterSource":
    """The records of a split."""
    require_split(split, self.title, self.splits)
    return CharacterSource(split, self, tuple(sorted(self.manifest()["sha256"].items())))

  def album(self, split: str) -> Album:
    """The pictures of a split's people."""
    return _read(self.folder / f"{split}.npz", self.manifest()["sha256"][split])


@dataclasses.dataclass(frozen=True)
class CharacterSource(FigureSource):
  """`FigureSource` of pictures in files; digests: their SHA-256 by split."""

  digests: tuple[tuple[str, str], ...]

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of all options, the split, and the pictures."""
    return hashlib.sha256(f"{super().fingerprint()}\t{self.digests}".encode()).hexdigest()

  def album(self, split: str) -> Album:
    """The pictures of a split, whose file is verified once."""
    return _read(self.dataset.folder / f"{split}.npz", dict(self.digests)[split])


@functools.lru_cache(maxsize=8)
def _read(path: pathlib.Path, digest: str) -> Album:
  try:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
      raise InputError(
        f"{path}: its SHA-256 is {found}, expected {digest}; remove it and prepare again"
      )
    with np.load(storage.local(path)) as arrays:
      return Album(*(arrays[field.name] for field in dataclasses.fields(Album)))
  except OSError as error:
    raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
