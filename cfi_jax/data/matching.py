"""Matching the images of several folders by file stem."""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, files_in, shorten
from cfi_jax.images.read import EXTENSIONS


def match_folders(root: str, folders: Mapping[str, str]) -> Listing:
  """Makes records of equally named images in folders below `root`; extensions may differ.

  folders: image name -> folder. Raises InputError for a missing root or folder, for a folder given
  twice, and when no folder holds an image. Names that a folder lacks or holds twice are returned as
  problems, other files as strays.
  """
  for (name, folder), (other, same) in itertools.combinations(folders.items(), 2):
    if folder == same:
      raise InputError(f"{name} and {other} are the same folder, {folder!r}")
  found: dict[str, dict[str, File]] = {}
  problems: list[str] = []
  strays: list[str] = []
  for name, folder in folders.items():
    files, others = files_in(root, folder)
    found[name], doubles = by_stem(files)
    problems += doubles
    strays += [file.path for file in others]
  if not any(found.values()):
    where = " nor in ".join(os.path.join(root, folder) for folder in folders.values())
    raise InputError(f"no image in {where} (looked for {', '.join(EXTENSIONS)})")
  for here, there in itertools.permutations(folders, 2):
    alone = sorted(set(found[here]) - set(found[there]))
    if alone:
      problems.append(
        f"{len(alone)} of {len(found[here])} images in {os.path.join(root, folders[here])} have no "
        f"partner of the same name in {folders[there]}: {shorten(alone)}"
      )
  stems = sorted(set.intersection(*map(set, found.values())))
  records = (Record(stem, {name: found[name][stem] for name in folders}) for stem in stems)
  return Listing(tuple(records), tuple(problems), tuple(sorted(strays)))


def by_stem(files: Iterable[File]) -> tuple[dict[str, File], list[str]]:
  """Maps file stems to the first file of each, with a sentence on every further one."""
  found: dict[str, File] = {}
  problems = []
  for file in files:
    first = found.setdefault(Path(file.path).stem, file)
    if first is not file:
      problems.append(f"two images of one name: {first.path} and {file.path}")
  return found, problems
