"""Inspection of a data set before training: every file is decoded, all that is wrong is listed."""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, Store, shorten
from cfi_jax.data.source import require_one_size
from cfi_jax.data.threads import each
from cfi_jax.datasets import Dataset
from cfi_jax.datasets.files import Examined, FileDataset
from cfi_jax.datasets.splits import SPLITS
from cfi_jax.fusion.inputs import FALSE_COLOUR
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import damage, range_lines, ranges, validity
from cfi_jax.images import read as images
from cfi_jax.images.colour import shows_colour
from cfi_jax.images.ranges import OVER, Normalizer, Range

LACKING = (
  "images with pixels without a value (NaN, nodata, alpha 0), which training does not leave out"
)


@dataclasses.dataclass(frozen=True)
class Report:
  """Findings in a data root.

  noun: name of a record: "image", "pair" or "set".
  counts: number of records per split. sizes: number of records per "HEIGHTxWIDTH".
  kinds: number of files per image name, channels and depth.
  values: the line on what is done to the values of how many files; "" for generated data.
  problems: sentences on what must be mended. notes: sentences on what does no harm.
  unseen: number of files per format whose pixels may be damaged without anybody noticing.
  """

  title: str
  noun: str
  counts: dict[str, int]
  sizes: dict[str, int]
  kinds: dict[str, int]
  values: str
  problems: tuple[str, ...]
  notes: tuple[str, ...]
  unseen: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Image:
  """Properties of a decoded file; `colour` is judged by content, `digest` is of the luma.

  summary: of its values where they decide on the range of a folder (`ranges.summarise`).
  missing: number of its pixels without a value (`images.validity`).
  unseen: name of its format where that has no checksum, else "".
  """

  size: tuple[int, int]
  kind: str
  colour: bool
  constant: bool
  digest: str
  dtype: np.dtype
  range: Range
  summary: np.ndarray | None
  missing: int
  unseen: str


@dataclasses.dataclass(frozen=True)
class _Seen:
  """A record of one split, its decoded images by name, and what is wrong with it.

  classes: names of those that its annotations show.
  """

  split: str
  record: Record
  images: Mapping[str, _Image]
  problems: tuple[str, ...]
  classes: frozenset[str]

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of a record without problems."""
    return next(iter(self.images.values())).size


def check(
  dataset: Dataset, crop: int, normalize: str = "auto", normalize_over: str = OVER[0]
) -> Report:
  """Decodes every file of the data set and reports on all of them, going on after what is wrong.

  crop: side of the training crop in pixels. normalize, normalize_over: see `pipeline.Input`. Raises
  InputError when no part of the data set can be listed. Generated data sets have no files.
  """
  if not isinstance(dataset, FileDataset):
    note = "the pictures are generated: there are no files to check"
    return Report(dataset.title, "image", {}, {}, {}, "", (), (note,))
  listings, problems = _list(dataset)
  splits = {part: listing.records for part, listing in listings.items()}
  try:
    splits = dataset.arrange(splits)
  except InputError as error:  # the parts as shipped are looked at instead
    problems.append(str(error))
  todo = [(split, record) for split, records in splits.items() for record in records]
  names = list(todo[0][1].files) if todo else None
  normalizer = ranges.parse(normalize, names, normalize_over)
  seen = each(
    lambda item: _examine(dataset, normalizer, *item), todo, f"checking {dataset.title}", "record"
  )
  whole = [s for s in seen if not s.problems]
  problems += [problem for s in seen for problem in s.problems]
  problems += [*_mixed_up(whole), *_duplicates(seen)]
  strays = sorted({stray for listing in listings.values() for stray in listing.strays})
  small = [s.record.name for s in whole if min(s.size) < crop]
  constant = [s.record.files[n].path for s in seen for n, i in s.images.items() if i.constant]
  coloured = [s.record.name for s in seen if _is_coloured(s)]
  shown = frozenset().union(*(s.classes for s in seen))
  absent = [] if problems else [name for name in dataset.known_classes if name not in shown]
  lacking = [s.record.files[n].path for s in seen for n, i in s.images.items() if i.missing]
  noun = todo[0][1].noun if todo else "pair"
  padded = f"{noun}s with a side below the crop of {crop}, to be reflect-padded"
  return Report(
    title=dataset.title,
    noun=noun,
    counts={split: len(splits[split]) for split in SPLITS if split in splits},
    sizes=_count("x".join(map(str, s.size)) for s in whole),
    kinds=dict(sorted(_count(f"{n}: {i.kind}" for s in seen for n, i in s.images.items()).items())),
    values=_values(seen, normalizer, normalize_over),
    problems=tuple(dict.fromkeys(problems)),
    notes=(
      *(note for listing in listings.values() for note in listing.notes),
      *_named(f"files that belong to no {noun}", strays),
      *_named(padded, small),
      *_named("constant images", constant),
      *_named("classes that nothing is labelled with", absent),
      *_named(LACKING, lacking),
      *_named(f"infrared pictures in colours: {FALSE_COLOUR}", coloured),
      *_named("cases in several splits", _leaks(dataset, seen)),
    ),
    unseen=_count(sorted(i.unseen for s in seen for i in s.images.values() if i.unseen)),
  )


def describe(report: Report) -> str:
  """Writes the report as text."""
  lines = [f"{report.title}:"]
  lines += [f"  {split}: {count} {report.noun}s" for split, count in report.counts.items()]
  sizes = [f"{size} ({count})" for size, count in report.sizes.items()]
  lines += [f"  {report.noun}s by size: {shorten(sizes)}"] if sizes else []
  lines += [f"  {kind}: {count}" for kind, count in report.kinds.items()]
  lines += [f"  {report.values}"] if report.values else []
  lines += [f"note: {note}" for note in report.notes]
  if report.unseen:
    formats = shorten(f"{name} ({count})" for name, count in report.unseen.items())
    lines.append(f"note: {formats} have no checksum: damage to their pixels may not be seen")
    if "JPEG" in report.unseen and not damage.is_strict():
      lines.append(
        f"note: with {damage.STRICT} installed ({damage.EXTRA}) more of it is seen in JPEG"
      )
  lines += [f"problem: {problem}" for problem in report.problems]
  sound = "nothing wrong was seen" if report.unseen else "nothing wrong"
  lines.append(f"problems: {len(report.problems)}" if report.problems else sound)
  return "\n".join(lines)


def _list(dataset: FileDataset) -> tuple[dict[str, Listing], list[str]]:
  listings, problems = {}, []
  for part in dataset.parts:
    try:
      listings[part] = dataset.listing(part)
    except InputError as error:
      problems.append(f"{part}: {error}")
  if not listings:
    raise InputError(f"{dataset.title}: nothing to check: {'; '.join(problems)}")
  problems += [problem for listing in listings.values() for problem in listing.problems]
  return listings, problems


def _examine(dataset: FileDataset, normalizer: Normalizer, split: str, record: Record) -> _Seen:
  found, problems, store = {}, [], dataset.store
  for name, file in record.files.items():
    if name in dataset.annotations:
      continue
    try:
      found[name] = _decode(store, file, name, normalizer)
    except InputError as error:
      problems.append(str(error))
  try:
    require_one_size(store, record, {name: image.size for name, image in found.items()})
  except InputError as error:
    problems.append(str(error))
  truth = Examined() if problems else dataset.examine(record)
  return _Seen(split, record, found, (*problems, *truth.problems), truth.classes)


def _decode(store: Store, file: File, name: str, normalizer: Normalizer) -> _Image:
  with store.open(file.path) as stream:
    image = images.decode(stream, store.label(file.path))
    unseen = damage.format_without_checksum(stream)
    if unseen == "JPEG" and damage.is_strict():
      damage.require_strict_jpeg(stream, store.label(file.path))
  height, width, channels = image.shape
  luma, valid = images.luma(image), validity.of(image)
  colour = shows_colour(image)
  names = {1: "grey", 3: "RGB", 4: "RGBA"}
  equal = "" if channels == 1 or colour else " without colour"
  point = {"u": "", "i": "signed ", "f": "floating-point "}[image.dtype.kind]
  kind = f"{names[channels]}{equal}, {point}{8 * image.itemsize} bits"
  digest = hashlib.sha256(f"{height} {width}".encode() + luma.tobytes()).hexdigest()
  found = normalizer.find(name, luma, store.label(file.path))
  is_open = normalizer.rule(name).is_open(luma.dtype)
  return _Image(
    size=(height, width),
    kind=kind,
    colour=colour,
    constant=bool(np.nanmin(luma) == np.nanmax(luma)),
    digest=digest,
    dtype=luma.dtype,
    range=found,
    summary=ranges.summarise(luma) if is_open else None,
    missing=0 if valid is None else int(np.count_nonzero(~valid)),
    unseen=unseen,
  )


def _is_coloured(seen: _Seen) -> bool:
  """Whether the infrared image has colours, and so has the visible one: they are not swapped."""
  return all(name in seen.images and seen.images[name].colour for name in MODALITIES)


def _values(seen: Iterable[_Seen], normalizer: Normalizer, over: str) -> str:
  """The line on what is done to the values of the files, of the training split over a folder."""
  found = [(s.split, name, image) for s in seen for name, image in s.images.items()]
  if over == OVER[0]:
    return range_lines.describe([(name, i.dtype, i.range) for _, name, i in found], over)
  first = next((split for split in SPLITS if any(split == of for of, _, _ in found)), "")
  normalizer = normalizer.of_folder(
    (name, i.summary, i.dtype) for of, name, i in found if of == first and i.summary is not None
  )
  done = [
    (name, i.dtype, normalizer.ranges.get((name, i.dtype.name), i.range)) for _, name, i in found
  ]
  return range_lines.describe(done, over)


def _count(values: Iterable[str]) -> dict[str, int]:
  """Counts equal values, the most frequent first."""
  return dict(collections.Counter(values).most_common())


def _named(what: str, names: Iterable[str]) -> list[str]:
  """Makes one sentence on names, or none where there are none."""
  names = list(names)
  return [f"{what} ({len(names)}): {shorten(names)}"] if names else []


def _mixed_up(whole: Iterable[_Seen]) -> list[str]:
  """Finds visible and infrared images in each other's place, and one picture given as both."""
  pairs = [s for s in whole if {"visible", "infrared"} <= set(s.images)]
  swapped = [s for s in pairs if s.images["infrared"].colour and not s.images["visible"].colour]
  doubled = [s for s in pairs if s.images["visible"].digest == s.images["infrared"].digest]
  what = "pairs that look swapped: visible is grey, infrared has colour"
  return [
    *_named(what, [s.record.name for s in swapped]),
    *_named("pairs of one picture, given as both", [s.record.name for s in doubled]),
  ]


def _duplicates(seen: Iterable[_Seen]) -> list[str]:
  """Finds pictures of one image name in two splits; constant ones prove nothing."""
  where = collections.defaultdict(list)
  for s in seen:
    for name, image in s.images.items():
      if not image.constant:
        where[name, image.digest].append(s)
  found = collections.defaultdict(list)
  for (name, _), same in where.items():
    for a, b in itertools.combinations(same, 2):
      if a.split != b.split:
        found[name, a.split, b.split].append(f"{a.record.name} = {b.record.name}")
  return [
    sentence
    for (name, a, b), names in found.items()
    for sentence in _named(f"{name} pictures in {a} and in {b}", names)
  ]


def _leaks(dataset: FileDataset, seen: Iterable[_Seen]) -> list[str]:
  """Names groups, such as the slices of one medical case, that occur in two splits."""
  splits = collections.defaultdict(set)
  for s in seen:
    name = s.record.name
    try:
      group = dataset.group(name)
    except InputError:  # reported already, when the splits were made
      continue
    if group != name:
      splits[group].add(s.split)
  return sorted(group for group, found in splits.items() if len(found) > 1)
