"""Suggestions for images without a partner: what their names differ in, what would pair them."""

import posixpath
import re
from collections.abc import Callable, Sequence

from cfi_jax.data.naming import Naming, without_zeros


def advise(alone: dict[str, Sequence[str]], paired: bool, naming: Naming) -> str:
  """Suggests an option or a renaming that pairs names; "" where none is seen.

  alone: names without a partner of two images, by image name. paired: whether others are paired.
  """
  ours, theirs = alone.values()
  if naming.options and (near := _equal(ours, theirs, without_zeros)):
    way = f"{naming.options}match=number pairs such names"
    return f"{near[0]} and {near[1]} differ only in zeros: {way}"
  if near := _equal(ours, theirs, str.casefold):
    return f"{near[0]} and {near[1]} differ only in capitals: rename one of each pair"
  if naming.options and not paired:
    for part, pattern in (("suffix", r"[_\-. ]?[^\W\d_]+$"), ("prefix", r"^[^\W\d_]+[_\-. ]?")):
      ends = {image: _common(names, pattern) for image, names in alone.items()}
      bare = [{_without(name, part, ends[i]) for name in names} for i, names in alone.items()]
      same = {name for name in bare[0] & bare[1] if posixpath.basename(name)}
      if len(set(ends.values())) == 2 and same:
        flags = [f"{naming.options}{image}_{part}={end}" for image, end in ends.items() if end]
        return f"they are pairs with {' '.join(flags)}"
  return ""


def _equal(
  ours: Sequence[str], theirs: Sequence[str], rule: Callable[[str], str]
) -> tuple[str, str] | None:
  """Returns the first two names that a rule makes equal."""
  by_rule = {rule(name): name for name in theirs}
  return next(((name, by_rule[rule(name)]) for name in ours if rule(name) in by_rule), None)


def _common(names: Sequence[str], pattern: str) -> str:
  """Returns the end of a pattern that all file names have, or ""."""
  found = {match[0] if (match := re.search(pattern, posixpath.basename(n))) else "" for n in names}
  return found.pop() if len(found) == 1 else ""


def _without(name: str, part: str, end: str) -> str:
  folder, base = posixpath.split(name)
  bare = base.removesuffix(end) if part == "suffix" else base.removeprefix(end)
  return posixpath.join(folder, bare)
