"""Splits of data sets: their names, and groups of records held out as a whole."""

import hashlib
from collections.abc import Callable, Iterable

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import Record

SPLITS = ("train", "validation", "test")


def hold_out(
  records: Iterable[Record],
  fraction: float,
  group: Callable[[str], str],
  what: str,
  way_out: str = "",
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
  """Splits records into (kept, held out): `fraction` of the groups, at least one, is held out.

  A hash of the groups' names alone chooses them: no seed, no order of the files. Raises InputError,
  naming the option `what` and the clause `way_out`, when no group would be kept.
  """
  records = tuple(records)
  groups = sorted({group(record.name) for record in records}, key=_stable_hash)
  count = max(1, round(fraction * len(groups)))
  if count >= len(groups):
    raise InputError(
      f"{what}={fraction} would hold out all {len(groups)} groups of images{way_out}"
    )
  chosen = set(groups[:count])
  kept = tuple(record for record in records if group(record.name) not in chosen)
  return kept, tuple(record for record in records if group(record.name) in chosen)


def require_fraction(what: str, value: float) -> None:
  """Raises InputError unless 0 <= value < 1."""
  if not 0 <= value < 1:
    raise InputError(f"{what}={value}: must be in [0, 1)")


def require_split(split: str, title: str, splits: tuple[str, ...]) -> None:
  """Raises InputError unless the data set of that title offers the split."""
  if split not in splits:
    raise InputError(f"{title} has no split {split!r}; it offers {', '.join(splits)}")


def _stable_hash(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
