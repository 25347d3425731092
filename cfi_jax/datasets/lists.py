"""Lists of names in text files, by which some data sets tell their parts apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Listing, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.images.read import EXTENSIONS


def read_names(path: Path, title: str, parts: Sequence[str]) -> set[str]:
  """Keys (see `Naming`) of the names in a text file, one image name a line.

  title, parts: the data set and the stems of all its lists, for messages. Raises InputError where
  the file is missing or no text.
  """
  if not path.is_file():
    *first, last = (f"{part}.txt" for part in parts)
    raise InputError(
      f"{path} is missing: {title} needs {', '.join(first)} and {last}, one image name per line"
    )
  try:
    lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"{path} cannot be read as text (UTF-8): {error}") from error
  stems = (Path(n).stem if Path(n).suffix.lower() in EXTENSIONS else n for n in lines)
  return {PLAIN.key(stem) for stem in stems}


def select(whole: Listing, part: str, lists: Mapping[str, set[str]]) -> Listing:
  """The records that the list of a part names; files of no list are strays.

  Names in two lists, and names without images, are problems.
  """
  problems = list(whole.problems)
  for other, names in lists.items():
    both = sorted(lists[part] & names) if other != part else []
    if both:
      first, second = sorted((part, other), key=list(lists).index)
      problems.append(f"{len(both)} names are in {first}.txt and in {second}.txt: {shorten(both)}")
  named = {PLAIN.key(record.name): record for record in whole.records}
  absent = sorted(lists[part] - set(named))
  if absent:
    problems.append(f"{len(absent)} names of {part}.txt have no pair of images: {shorten(absent)}")
  listed = set().union(*lists.values())
  strays = [
    file.path
    for name, record in named.items()
    if name not in listed
    for file in record.files.values()
  ]
  chosen = tuple(record for name, record in named.items() if name in lists[part])
  return Listing(chosen, tuple(problems), tuple(sorted([*whole.strays, *strays])))
