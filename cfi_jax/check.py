"""Checks a data root before training.

  python -m cfi_jax.check --config=configs/msrs.py --config.data.root=PATH

Decodes every file of every split and lists all that is wrong. Exits with 0 if nothing is, 1 if
something is, 2 if the config or the root cannot be used at all.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tqdm

from cfi_jax import datasets
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, Store, shorten
from cfi_jax.data.pipeline import Input
from cfi_jax.data.source import SPLITS, PairDataset
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import read as images
from cfi_jax.systems.isfuse.config import Config

_COLOUR_STEP = 8 / 255  # channels that differ more than this (as JPEG's rounding may) show colour,
_COLOUR_SHARE = 0.001  # if that holds for more than this share of the pixels


@dataclasses.dataclass(frozen=True)
class Report:
  """What was found in a data root.

  pairs: number of pairs per split. sizes: number of pairs per "HEIGHTxWIDTH".
  kinds: number of files per modality, channels and depth.
  problems: what must be mended. notes: what is worth knowing and does no harm.
  """

  title: str
  pairs: dict[str, int]
  sizes: dict[str, int]
  kinds: dict[str, int]
  problems: tuple[str, ...]
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Image:
  """What is kept of a decoded file; `colour` is judged by content, `digest` is of the luma."""

  height: int
  width: int
  kind: str
  colour: bool
  constant: bool
  digest: str


@dataclasses.dataclass(frozen=True)
class _Seen:
  """A pair of one split, as found: its decoded images by modality, and what is wrong with it."""

  split: str
  record: Record
  images: Mapping[str, _Image]
  problems: tuple[str, ...]


def check(dataset: datasets.Dataset, options: Input) -> Report:
  """Decodes every file of the dataset and reports on all of them, going on after what is wrong.

  Raises InputError when no part of the dataset can be listed. Generated datasets have no files.
  """
  if not isinstance(dataset, PairDataset):
    note = "the pictures are generated: there are no files to check"
    return Report(dataset.title, {}, {}, {}, (), (note,))
  listings, problems = _list(dataset)
  splits, more = _arrange(dataset, {part: listing.records for part, listing in listings.items()})
  problems += more
  seen = _look(dataset, splits)
  whole = [s for s in seen if not s.problems]
  problems += [problem for s in seen for problem in s.problems]
  problems += [*_swapped(whole), *_doubled(whole), *_duplicates(seen)]
  strays = sorted({stray for listing in listings.values() for stray in listing.strays})
  sizes = collections.Counter(f"{i.height}x{i.width}" for s in whole for i in _visible(s))
  kinds = collections.Counter(f"{m}: {image.kind}" for s in seen for m, image in s.images.items())
  return Report(
    title=dataset.title,
    pairs={split: len(splits[split]) for split in SPLITS if split in splits},
    sizes=dict(sizes.most_common()),
    kinds=dict(sorted(kinds.items())),
    problems=tuple(dict.fromkeys(problems)),
    notes=(
      *_strays(strays),
      *_small(whole, options.crop),
      *_constant(seen),
      *_leaks(dataset, seen),
    ),
  )


def describe(report: Report) -> str:
  """The report as text."""
  lines = [f"{report.title}:"]
  lines += [f"  {split}: {count} pairs" for split, count in report.pairs.items()]
  sizes = [f"{size} ({count})" for size, count in report.sizes.items()]
  lines += [f"  pairs by size: {shorten(sizes)}"] if sizes else []
  lines += [f"  {kind}: {count}" for kind, count in report.kinds.items()]
  lines += [f"note: {note}" for note in report.notes]
  lines += [f"problem: {problem}" for problem in report.problems]
  lines.append(f"problems: {len(report.problems)}" if report.problems else "nothing wrong")
  return "\n".join(lines)


def _list(dataset: PairDataset) -> tuple[dict[str, Listing], list[str]]:
  listings, problems = {}, []
  for part in dataset.parts:
    try:
      listings[part] = dataset.listing(part)
    except InputError as error:
      problems.append(f"{part}: {error}")
  if not listings:
    raise InputError("\n  ".join([f"{dataset.title}: nothing to check", *problems]))
  problems += [problem for listing in listings.values() for problem in listing.problems]
  return listings, problems


def _arrange(
  dataset: PairDataset, parts: dict[str, tuple[Record, ...]]
) -> tuple[dict[str, tuple[Record, ...]], list[str]]:
  """The splits; or, where they cannot be made, the parts as shipped and why."""
  try:
    return dataset.arrange(parts), []
  except InputError as error:
    return parts, [str(error)]


def _look(dataset: PairDataset, splits: Mapping[str, tuple[Record, ...]]) -> list[_Seen]:
  store = dataset.store
  todo = [(split, record) for split, records in splits.items() for record in records]
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    seen = pool.map(lambda item: _examine(store, *item), todo)
    return list(tqdm.tqdm(seen, f"checking {dataset.title}", len(todo), unit="pair", delay=2))


def _examine(store: Store, split: str, record: Record) -> _Seen:
  found, problems = {}, []
  for modality in MODALITIES:
    try:
      found[modality] = _decode(store, getattr(record, modality))
    except InputError as error:
      problems.append(str(error))
  sizes = {m: f"{image.height}x{image.width}" for m, image in found.items()}
  if len(set(sizes.values())) > 1:
    described = [f"{store.label(getattr(record, m).path)} is {size}" for m, size in sizes.items()]
    problems.append(f"a pair must have one size, but {' and '.join(described)}")
  return _Seen(split, record, found, tuple(problems))


def _decode(store: Store, file: File) -> _Image:
  with store.open(file.path) as stream:
    image = images.decode(stream, store.label(file.path))
  height, width, channels = image.shape
  luma = images.luma(image)
  limit = _COLOUR_STEP * np.iinfo(image.dtype).max
  planes = [image[..., channel] for channel in range(min(channels, 3))]
  spread = functools.reduce(np.maximum, planes) - functools.reduce(np.minimum, planes)
  colour = np.mean(spread > limit) > _COLOUR_SHARE
  names = {1: "grey", 3: "RGB", 4: "RGBA"}
  equal = "" if channels == 1 or colour else " without colour"
  kind = f"{names[channels]}{equal}, {8 * image.itemsize} bits"
  digest = hashlib.sha256(f"{height} {width}".encode() + luma.tobytes()).hexdigest()
  return _Image(height, width, kind, bool(colour), bool(np.ptp(luma) == 0), digest)


def _visible(seen: _Seen) -> Iterable[_Image]:
  return (seen.images["visible"],)


def _swapped(whole: Iterable[_Seen]) -> list[str]:
  names = [
    s.record.name for s in whole if s.images["infrared"].colour and not s.images["visible"].colour
  ]
  if not names:
    return []
  return [
    f"pairs that look swapped: visible is grey, infrared has colour ({len(names)}): "
    f"{shorten(names)}"
  ]


def _doubled(whole: Iterable[_Seen]) -> list[str]:
  names = [
    s.record.name for s in whole if s.images["visible"].digest == s.images["infrared"].digest
  ]
  if not names:
    return []
  return [f"pairs of one picture, given as both ({len(names)}): {shorten(names)}"]


def _duplicates(seen: Iterable[_Seen]) -> list[str]:
  """Pictures of one modality that occur in two splits; constant ones prove nothing."""
  where = collections.defaultdict(list)
  for s in seen:
    for modality, image in s.images.items():
      if not image.constant:
        where[modality, image.digest].append(s)
  found = collections.defaultdict(list)
  for (modality, _), same in where.items():
    for a, b in itertools.combinations(same, 2):
      if a.split != b.split:
        found[modality, a.split, b.split].append(f"{a.record.name} = {b.record.name}")
  return [
    f"{modality} pictures in {a} and in {b} ({len(names)}): {shorten(names)}"
    for (modality, a, b), names in found.items()
  ]


def _strays(strays: list[str]) -> list[str]:
  return [f"files that belong to no pair ({len(strays)}): {shorten(strays)}"] if strays else []


def _small(whole: Iterable[_Seen], crop: int) -> list[str]:
  names = [s.record.name for s in whole for i in _visible(s) if min(i.height, i.width) < crop]
  if not names:
    return []
  return [
    f"pairs with a side below the crop of {crop}, to be reflect-padded ({len(names)}): "
    f"{shorten(names)}"
  ]


def _constant(seen: Iterable[_Seen]) -> list[str]:
  paths = [getattr(s.record, m).path for s in seen for m, i in s.images.items() if i.constant]
  return [f"constant images ({len(paths)}): {shorten(paths)}"] if paths else []


def _leaks(dataset: PairDataset, seen: Iterable[_Seen]) -> list[str]:
  """Groups, such as the slices of one medical case, that occur in two splits."""
  splits = collections.defaultdict(set)
  for s in seen:
    name = s.record.name
    try:
      group = dataset.group(name)
    except InputError:  # reported already, by `_arrange`
      continue
    if group != name:
      splits[group].add(s.split)
  leaking = sorted(group for group, found in splits.items() if len(found) > 1)
  return [f"cases in several splits ({len(leaking)}): {shorten(leaking)}"] if leaking else []


def main(given: Mapping[str, Any]) -> int:
  """Checks the data that the flags name and prints the report."""
  config = config_lib.build(Config, given["config"])
  report = check(datasets.load(config.data), config.input)
  print(describe(report))
  return 1 if report.problems else 0


FLAGS = {"config": cli.NEEDED_CONFIG}

if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
