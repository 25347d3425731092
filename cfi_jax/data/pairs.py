"""Pairs of image files: two files, or two folders whose images are paired by name."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data import matching
from cfi_jax.data.listing import enumerate_problems, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.data.shards import ALL, Made, Shard
from cfi_jax.images import radiometric


@dataclasses.dataclass(frozen=True)
class PairFiles:
  """The files of a pair, and its name: the visible one's path below its folder, less extension.

  embedded: the visible image is inside the infrared one, a radiometric JPEG.
  """

  name: str
  visible: pathlib.Path
  infrared: pathlib.Path
  embedded: bool = False


@dataclasses.dataclass(frozen=True)
class FoundPairs:
  """Pairs of files; sentences on names that are no pairs; images and the like left out.

  failures: the names that are no pairs, one by one, with the reason of each.
  """

  pairs: Sequence[PairFiles]
  problems: list[str]
  left_out: list[str]
  failures: Sequence[tuple[str, str]] = ()


def sources(given: Mapping[str, Any]) -> list[pathlib.Path]:
  """The paths of the flags visible and infrared, or the one of flir.

  Raises InputError unless either both or the one is given.
  """
  both = [name for name in ("visible", "infrared") if given[name]]
  if given["flir"] and both:
    raise InputError(f"--flir={given['flir']} holds both images; leave --{both[0]} out")
  if not given["flir"] and len(both) < 2:
    name = "infrared" if both == ["visible"] else "visible"
    raise InputError(f"--{name} is missing; required are --visible and --infrared, or --flir")
  return [storage.path(given[name]) for name in ([*both] if both else ["flir"])]


def require_alike(visible: pathlib.Path, infrared: pathlib.Path) -> None:
  """Raises InputError unless both exist, and both are files or both folders."""
  for path in (visible, infrared):
    if not path.exists():
      raise InputError(f"{path}: does not exist")
  if visible.is_dir() != infrared.is_dir():
    raise InputError(f"{visible} and {infrared}: one is a folder, the other a file")


def find_pairs(
  visible: pathlib.Path,
  infrared: pathlib.Path,
  naming: Naming = PLAIN,
  purpose: str = "fuse",
  shard: Shard = ALL,
) -> FoundPairs:
  """Finds the pairs of two files, or of two folders and those below them.

  purpose: what the pairs are for, in the message where there is none. shard: of folders, only that
  shard's pairs are found, which may be none. Raises InputError where there is no pair, and as
  `require_alike` does, and for one file that is given twice.
  """
  require_alike(visible, infrared)
  if not visible.is_dir():
    if visible.resolve() == infrared.resolve():
      raise InputError(f"{visible}: given as the visible and as the infrared image")
    return FoundPairs([PairFiles(visible.stem, visible, infrared)], [], [])
  folders = {"visible": os.fspath(visible.resolve()), "infrared": os.fspath(infrared.resolve())}
  matched = matching.match(os.sep, folders, naming, shard)
  problems = matching.problems(matched, os.sep, folders, naming)
  if not matched.keys and shard.count == 1:
    raise InputError(enumerate_problems(f"there is no pair to {purpose}", problems))

  def make(key: str) -> PairFiles:
    record = matched.record(key)
    paths = (storage.path(os.sep, record.files[name].path) for name in folders)
    return PairFiles(record.name, *paths)

  left_out = matching.unread(matching.strays(list(matched.found.values())))
  return FoundPairs(Made(matched.keys, make), problems, left_out, matched.failures(folders))


def find_embedded(path: pathlib.Path, naming: Naming = PLAIN, shard: Shard = ALL) -> FoundPairs:
  """Finds the radiometric JPEGs of a folder and those below it, or one file: each is a pair.

  Names are those of infrared images. Other images are left out. shard: see `find_pairs`. Raises
  InputError where there is no radiometric JPEG; one that is damaged is a pair, which reading
  refuses.
  """
  if not path.exists():
    raise InputError(f"{path}: does not exist")
  if not path.is_dir():
    return FoundPairs([PairFiles(path.stem, path, path, embedded=True)], [], [])
  folders = {"infrared": os.fspath(path.resolve())}
  found = matching.find(os.sep, folders, naming, shard)["infrared"]
  pairs, left_out = [], matching.unread([file.path for file in found.others])
  for key, file in found.images.items():
    whole = storage.path(os.sep, file.path)
    if _is_radiometric(whole):
      pairs.append(PairFiles(found.names[key], whole, whole, embedded=True))
    else:
      left_out.append(file.path)
  if not pairs and shard.count == 1:
    held = f"; left out: {shorten(left_out)}" if left_out else ""
    raise InputError(f"{path}: holds no radiometric JPEG of FLIR{held}")
  pairs.sort(key=lambda pair: pair.name)
  return FoundPairs(pairs, list(found.twice.values()), left_out, list(found.twice.items()))


def _is_radiometric(path: pathlib.Path) -> bool:
  try:
    with storage.peek(path) as file:
      return radiometric.find(file) is not None
  except InputError:  # damaged, or of DJI; reading says so
    return True
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
