"""Images to score: scenes that every folder holds, under one name and in one size."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore, enumerate_problems
from cfi_jax.data.matching import (
  PLAIN,
  Found,
  advice,
  find,
  lost,
  no_image,
  strays,
  unread,
  unread_sentence,
)
from cfi_jax.data.naming import Naming
from cfi_jax.data.shards import ALL, Shard
from cfi_jax.data.threads import each
from cfi_jax.images import ranges
from cfi_jax.images import read as images

_LONGEST = 400  # characters


@dataclasses.dataclass(frozen=True)
class Scene:
  """One scene that every method has fused: its size (height, width) and paths by folder name."""

  name: str
  size: tuple[int, int]
  paths: Mapping[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Unscored:
  """Names and files that are not scored, or not as they are.

  folders: by label. paired: number of names that both sources hold. missing, extra: by label the
  names that its folder lacks of these, and that it has beside them. advice: on names, "" for none.
  unread: files of formats that are not read. left_out: all other files. differing: names whose
  images differ in size, with the sizes. wide: number of files of 16 bits; narrow: those that use so
  little of it that they should be stretched. Lists are sorted.
  """

  folders: Mapping[str, str]
  paired: int
  missing: Mapping[str, Sequence[str]]
  extra: Mapping[str, Sequence[str]]
  advice: str
  unread: Sequence[str]
  left_out: Sequence[str]
  differing: Sequence[str] = ()
  wide: int = 0
  narrow: Sequence[str] = ()

  def sentences(self) -> tuple[str, ...]:
    """Sentences about all of it."""
    notes = []
    for label, folder in self.folders.items():
      missing, extra, where = self.missing[label], self.extra[label], f"{label} ({folder})"
      if missing:
        notes.append(f"{where} lacks {len(missing)} of {self.paired} pairs: {', '.join(missing)}")
      if extra:
        listed = ", ".join(extra)
        notes.append(f"{where} has {len(extra)} images that belong to no pair: {listed}")
    notes += [self.advice] if self.advice else []
    notes += unread_sentence(self.unread)
    if self.left_out:
      notes.append(f"{len(self.left_out)} other files are left out: {', '.join(self.left_out)}")
    if self.differing:
      listed = ", ".join(self.differing)
      notes.append(f"{len(self.differing)} pairs left out, sizes differ: {listed}")
    if self.wide:
      notes.append(f"{self.wide} files hold 16 bits per channel, scored as round(value / 257)")
    if self.narrow:
      notes.append(
        f"{len(self.narrow)} of them use so little of it, as raw counts do, that next to nothing "
        f"is left to score; save them stretched to 8 bits first: {', '.join(self.narrow)}"
      )
    return tuple(notes)

  def and_sizes(self, opened: Iterable["Opened"]) -> "Unscored":
    """The same with what opening the files told."""
    opened = list(opened)
    return dataclasses.replace(
      self,
      differing=sorted(text for one in opened for text in one.differing),
      wide=self.wide + sum(count for one in opened for count in one.wide.values()),
      narrow=sorted(path for one in opened for paths in one.narrow.values() for path in paths),
    )


def merge(shards: Sequence[Unscored]) -> Unscored:
  """All that several shards of the same folders did not score."""
  first = shards[0]

  def listed(name: str) -> list[str]:
    return sorted(text for one in shards for text in getattr(one, name))

  def by_label(name: str) -> dict[str, list[str]]:
    return {
      label: sorted(text for one in shards for text in getattr(one, name)[label])
      for label in first.folders
    }

  return Unscored(
    folders=first.folders,
    paired=sum(one.paired for one in shards),
    missing=by_label("missing"),
    extra=by_label("extra"),
    advice=next((one.advice for one in shards if one.advice), ""),
    unread=listed("unread"),
    left_out=listed("left_out"),
    differing=listed("differing"),
    wide=sum(one.wide for one in shards),
    narrow=listed("narrow"),
  )


@dataclasses.dataclass(frozen=True)
class Opened:
  """Scenes of one size, and what else the headers of files told; see `Unscored`.

  wide, narrow: by name of the scene, where it has such files. broken: by name of the scene why its
  files cannot be scored.
  """

  scenes: Sequence[Scene]
  differing: Sequence[str] = ()
  wide: Mapping[str, int] = dataclasses.field(default_factory=dict)
  narrow: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  broken: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Alignment:
  """The scenes to score, sorted by name, and sentences about every file that was left out."""

  scenes: tuple[Scene, ...]
  notes: tuple[str, ...]


def align(folders: Mapping[str, pathlib.Path], naming: Naming = PLAIN) -> Alignment:
  """Matches the images of folders, and of folders below them, by name; extensions may differ.

  Args:
    folders: two folders of source images, which make the pairs, then one per method.
    naming: the rule of names; a scene has the name of its file in the first folder.

  Raises:
    InputError: a folder is missing or empty, holds two images of one name or a file that cannot be
      read, or no name is present everywhere in one size.
  """
  found, keys, unscored = look(folders, naming)
  opened = open_scenes(found, keys)
  if opened.broken:
    broken = list(opened.broken.values())
    raise InputError(enumerate_problems(f"{len(broken)} images cannot be read", broken))
  notes = unscored.and_sizes([opened]).sentences()
  if not opened.scenes:
    counts = ", ".join(f"{label}: {len(one.images)}" for label, one in found.items())
    title = f"no image is present in all folders in one size ({counts} images)"
    raise InputError("\n  ".join([title, *map(cut, notes)]))
  return Alignment(tuple(opened.scenes), notes)


def look(
  folders: Mapping[str, pathlib.Path], naming: Naming, shard: Shard = ALL
) -> tuple[dict[str, Found], list[str], Unscored]:
  """The files of a shard by label, the keys that all folders hold, sorted, and what they lack."""
  found = _find(folders, naming, shard)
  here, there, *others = found
  names = found[here].names
  both = [key for key in found[here].images if key in found[there].images]
  keys = [key for key in both if all(key in found[label].images for label in others)]
  paired = set(both)
  unscored = Unscored(
    folders={label: str(folder) for label, folder in folders.items()},
    paired=len(paired),
    missing={
      label: sorted(names[key] for key in paired.difference(one.images))
      for label, one in found.items()
    },
    extra={
      label: sorted(one.names[key] for key in one.images if key not in paired)
      for label, one in found.items()
    },
    advice=advice(here, there, found, naming),
    unread=[" and ".join(paths) for paths in lost(list(found.values()))],
    left_out=unread(strays(list(found.values()))),
  )
  return found, sorted(keys, key=names.__getitem__), unscored


def cut(note: str) -> str:
  """Shortens a note for a terminal."""
  return note if len(note) <= _LONGEST else f"{note[:_LONGEST]} ..."


def read(path: pathlib.Path) -> np.ndarray:
  """Reads a file as uint8 [H, W, 1] or [H, W, 3]; alpha is dropped, 16 bits become 8."""
  return eight_bits(images.read_image(path), str(path))[..., :3]


def eight_bits(image: np.ndarray, label: str) -> np.ndarray:
  """uint8 of uint8, or of uint16 as round(value / 257), which maps 0 to 0 and 65535 to 255.

  Raises InputError, which `label` begins, for other types, which have no largest value to map.
  """
  if image.dtype == np.uint8:
    return image
  if image.dtype != np.uint16:
    raise InputError(f"{label}: values are {image.dtype}; metrics take 8 or 16 bits per channel")
  return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _find(folders: Mapping[str, pathlib.Path], naming: Naming, shard: Shard) -> dict[str, Found]:
  """Finds the images of every folder, of which none may be empty."""
  for label, folder in folders.items():
    if not folder.is_dir():
      what = "is not a folder" if folder.exists() else "does not exist"
      raise InputError(f"{label}: {folder} {what}")
  roots = {label: os.fspath(f.absolute()) for label, f in folders.items()}
  found = find(os.sep, roots, naming, shard)
  for label, one in found.items():
    if one.twice:
      raise InputError(f"{label}: {next(iter(one.twice.values()))}")
    if not one.total:
      raise InputError(f"{label}: {no_image(str(folders[label]), [one], naming, [label])}")
  return found


def open_scenes(found: Mapping[str, Found], keys: Sequence[str]) -> Opened:
  """Reads the headers of the files of scenes by key."""
  first, *_ = found.values()
  jobs = [(key, label) for key in keys for label in found]
  paths = {(key, label): storage.path(os.sep, found[label].images[key].path) for key, label in jobs}
  headers = each(lambda job: _header(paths[job]), jobs, "checking files", "file")
  known = dict(zip(jobs, headers, strict=True))
  scenes, differing, broken = [], [], {}
  for key in keys:
    own = {label: known[key, label] for label in found}
    errors = [str(header) for header in own.values() if isinstance(header, InputError)]
    sizes = {label: (h.height, h.width) for label, h in own.items() if not errors}
    if errors:
      broken[first.names[key]] = "; ".join(errors)
    elif len(set(sizes.values())) == 1:
      size = next(iter(sizes.values()))
      scenes.append(Scene(first.names[key], size, {label: paths[key, label] for label in found}))
    else:
      described = ", ".join(f"{label} {height}x{width}" for label, (height, width) in sizes.items())
      differing.append(f"{first.names[key]} ({described})")
  depths = {job: header.depth for job, header in known.items() if hasattr(header, "depth")}
  wide = [job for job, depth in depths.items() if depth != np.uint8]
  files = [paths[job] for job in wide]
  counts: dict[str, int] = {}
  narrow: dict[str, list[str]] = {}
  for (key, _), path in zip(wide, each(_if_narrow, files, "reading 16 bits", "file"), strict=True):
    name = first.names[key]
    counts[name] = counts.get(name, 0) + 1
    if path is not None:
      narrow.setdefault(name, []).append(str(path))
  return Opened(scenes, differing, counts, narrow, broken)


def _header(path: pathlib.Path) -> images.Header | InputError:
  try:
    with FolderStore("").peek(os.fspath(path)) as file:
      header = images.read_header(file, os.fspath(path))
    eight_bits(np.array([], header.depth), os.fspath(path))  # refused before any is scored
  except InputError as error:
    return error
  return header


def _if_narrow(path: pathlib.Path) -> pathlib.Path | None:
  """Returns the path of a file of 16 bits that fusing would stretch, None for others."""
  luma = images.luma(images.read_image(path))
  found = ranges.Rule().find(luma)
  return None if found.how == "full" or found.used[0] == found.used[1] else path
