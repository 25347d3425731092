"""Pairs of image files: two files, or two folders whose images are paired by name."""

import dataclasses
import os
import pathlib

from cfi_jax.core.types import InputError
from cfi_jax.data import matching
from cfi_jax.data.listing import enumerate_problems
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming


@dataclasses.dataclass(frozen=True)
class PairFiles:
  """The files of a pair, and its name: the visible one's path below its folder, less extension."""

  name: str
  visible: pathlib.Path
  infrared: pathlib.Path


@dataclasses.dataclass(frozen=True)
class FoundPairs:
  """Pairs of files; sentences on names that are no pairs; images and the like left out."""

  pairs: list[PairFiles]
  problems: list[str]
  left_out: list[str]


def require_alike(visible: pathlib.Path, infrared: pathlib.Path) -> None:
  """Raises InputError unless both exist, and both are files or both folders."""
  for path in (visible, infrared):
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  if visible.is_dir() != infrared.is_dir():
    raise InputError(f"{visible} and {infrared}: one is a folder, the other a file")


def find_pairs(
  visible: pathlib.Path, infrared: pathlib.Path, naming: Naming = PLAIN, purpose: str = "fuse"
) -> FoundPairs:
  """Finds the pairs of two files, or of two folders and those below them.

  purpose: what the pairs are for, in the message where there is none. Raises InputError there, and
  as `require_alike` does, and for one file that is given twice.
  """
  require_alike(visible, infrared)
  if not visible.is_dir():
    if visible.resolve() == infrared.resolve():
      raise InputError(f"{visible}: given as the visible and as the infrared image")
    return FoundPairs([PairFiles(visible.stem, visible, infrared)], [], [])
  folders = {"visible": os.fspath(visible.resolve()), "infrared": os.fspath(infrared.resolve())}
  found = matching.match_folders(os.sep, folders, naming)
  if not found.records:
    raise InputError(enumerate_problems(f"there is no pair to {purpose}", found.problems))
  pairs = [
    PairFiles(r.name, *(pathlib.Path(os.sep, r.files[name].path) for name in folders))
    for r in found.records
  ]
  return FoundPairs(pairs, list(found.problems), matching.unread(found.strays))
