"""Matching the images of several folders, and of folders below them, by name."""

import dataclasses
import itertools
import os
from collections.abc import Collection, Mapping, Sequence

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.advice import advise
from cfi_jax.data.listing import File, Listing, Record, files_in, shorten
from cfi_jax.data.naming import Naming
from cfi_jax.data.shards import ALL, Shard
from cfi_jax.images.read import EXTENSIONS

# Pictures, films and arrays that users have and that are not read, by extension.
UNREADABLE = (
  *(".heic", ".heif", ".avif", ".jxl", ".jpx", ".j2k", ".ppm", ".pgm", ".psd", ".exr", ".svg"),
  *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".fff", ".seq", ".csq", ".npy", ".npz", ".mat"),
  *(".dcm", ".nii", ".gz", ".mha", ".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm", ".h5", ".fits"),
)
READABLE = f"readable are {', '.join(EXTENSIONS)}"
PLAIN = Naming()


@dataclasses.dataclass(frozen=True)
class Found:
  """The files of one folder that belong to one image name, by key (see `Naming`).

  names: their names as they are written. unreadable: files of these names that are no images by
  their extension. twice: by key a sentence on two images of one name. others: all other files.
  total: number of images in the folder, also of those that are another shard's.
  """

  images: Mapping[str, File]
  names: Mapping[str, str]
  unreadable: Mapping[str, File]
  twice: Mapping[str, str]
  others: tuple[File, ...]
  total: int


class _Names(dict[str, str]):
  """Names by key, of which those that are their own key are not kept."""

  def __missing__(self, key: str) -> str:
    return key


def find(
  root: str, folders: Mapping[str, str], naming: Naming = PLAIN, shard: Shard = ALL
) -> dict[str, Found]:
  """Looks for the images of every folder, with those of folders below it.

  folders: image name -> folder below `root`. A folder below another of them is not part of that
  one. In a folder of several image names a file belongs to that with the longest prefix and suffix.
  shard: what is found is that shard's alone.
  Raises InputError for a missing root or folder, and for a folder given twice whose images no
  prefix or suffix tells apart.
  """
  real = {image: storage.real(storage.join(root, f)) for image, f in folders.items()}
  for image, other in itertools.combinations(folders, 2):
    if real[image] == real[other] and naming.affix(image) == naming.affix(other):
      options = f"{naming.options}{image}_suffix and {naming.options}{other}_suffix"
      settable = naming.options and {image, other} <= set(naming.affixes)
      way = f"; {options} (or _prefix) tell their images apart" if settable else ""
      raise InputError(f"{image} and {other} are the same folder, {folders[other]!r}{way}")
  found = {}
  for image, folder in folders.items():
    apart = {path for path in real.values() if path != real[image]}
    rivals = [name for name in folders if real[name] == real[image]]
    files = files_in(root, folder, apart=apart)
    found[image] = _of_image(image, folder, files, naming, rivals, shard)
  return found


def _of_image(
  image: str,
  folder: str,
  files: tuple[list[File], list[File]],
  naming: Naming,
  rivals: Collection[str],
  shard: Shard,
) -> Found:
  """Takes the files of one image name; rivals: all image names of that folder."""
  images: dict[str, File] = {}
  names = _Names()
  unreadable: dict[str, File] = {}
  twice: dict[str, str] = {}
  others, total, start = [], 0, os.path.join(folder, "")
  for is_image, group in zip((True, False), files, strict=True):
    for file in group:
      path = file.path.removeprefix(start)
      name = naming.name(image, path)
      if name is None or (len(rivals) > 1 and _owner(path, naming, rivals) != image):
        if shard.holds(path):
          others.append(file)
        continue
      key = naming.key(name)
      total += is_image
      if not shard.holds(key):
        continue
      if not is_image:
        unreadable.setdefault(key, file)
        others.append(file)
      elif key in images:
        twice[key] = f"two images of one name: {images[key].path} and {file.path}"
      else:
        images[key] = file
        if name != key:
          names[key] = name
  unreadable = {key: file for key, file in unreadable.items() if key not in images}
  return Found(images, names, unreadable, twice, tuple(others), total)


def _owner(path: str, naming: Naming, rivals: Collection[str]) -> str:
  """Names the image whose prefix and suffix are longest among those that a file has."""
  fitting = [image for image in rivals if naming.name(image, path) is not None]
  return max(fitting, key=lambda image: sum(map(len, naming.affix(image))))


@dataclasses.dataclass(frozen=True)
class Matched:
  """The records of several folders by key, and what is no record.

  found: by image name. keys: of the records, in the order of their names. lacking: by (image name,
  another) the keys that the other's folder lacks in any format, sorted.
  """

  found: Mapping[str, Found]
  keys: Sequence[str]
  lacking: Mapping[tuple[str, str], Sequence[str]]

  def record(self, key: str) -> Record:
    """The record of a key, named as its file in the first folder is."""
    first = next(iter(self.found.values()))
    return Record(first.names[key], {image: one.images[key] for image, one in self.found.items()})

  def failures(self, folders: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name and reason of everything that is no record for its name or its format; see `match`."""
    reasons = [pair for one in self.found.values() for pair in one.twice.items()]
    for (here, there), keys in self.lacking.items():
      reason = f"no image of the same name in {folders[there]}"
      reasons += [(self.found[here].names[key], reason) for key in keys]
    for paths in lost(list(self.found.values())):
      reasons.append((paths[0], f"left out for its format; {READABLE}"))
    return reasons


def match(
  root: str, folders: Mapping[str, str], naming: Naming = PLAIN, shard: Shard = ALL
) -> Matched:
  """Matches equally named images in folders below `root`; extensions may differ.

  folders: image name -> folder. shard: the records are that shard's alone. Raises InputError as
  `find` does, and when no folder holds an image.
  """
  found = find(root, folders, naming, shard)
  if not any(one.total for one in found.values()):
    where = " nor in ".join(dict.fromkeys(storage.join(root, f) for f in folders.values()))
    raise InputError(no_image(where, list(found.values()), naming, folders))
  first, *others = found.values()
  keys = [key for key in first.images if all(key in one.images for one in others)]
  keys.sort(key=first.names.__getitem__)
  return Matched(found, keys, {
    (here, there): sorted(
      key
      for key in found[here].images
      if key not in found[there].images and key not in found[there].unreadable
    )
    for here, there in itertools.permutations(folders, 2)
  })  # fmt: skip


def match_folders(root: str, folders: Mapping[str, str], naming: Naming = PLAIN) -> Listing:
  """Makes records of equally named images in folders below `root`; extensions may differ.

  folders: image name -> folder. A record has the name of its file in the first folder. Raises
  InputError as `match` does. Names that a folder lacks, holds twice or holds in a format that is
  not read are returned as problems, other files as strays.
  """
  matched = match(root, folders, naming)
  records = tuple(map(matched.record, matched.keys))
  stray = strays(list(matched.found.values()))
  return Listing(records, tuple(problems(matched, root, folders, naming)), stray)


def problems(matched: Matched, root: str, folders: Mapping[str, str], naming: Naming) -> list[str]:
  """Sentences on what is no record for its name or its format."""
  found = matched.found
  whole = {image: storage.join(root, folder) for image, folder in folders.items()}
  sentences = [sentence for one in found.values() for sentence in one.twice.values()]
  for (here, there), keys in matched.lacking.items():
    sentences += _alone(here, there, keys, found, whole[here], folders[there], naming)
  return sentences + unreadable(list(found.values()))


def no_image(where: str, found: Sequence[Found], naming: Naming, images: Collection[str]) -> str:
  """Says that there is no image, which were looked for, and what is there instead."""
  needed = [
    f"{image} {part} {affix!r}"
    for image in images
    for part, affix in zip(("prefix", "suffix"), naming.affix(image), strict=True)
    if affix
  ]
  fitting = f" with {', '.join(needed)}" if needed else ""
  others = [*itertools.chain(*lost(found)), *unread(strays(found))]
  held = f"; left out: {shorten(others)}" if others else ""
  return f"no image{fitting} in {where} (looked for {', '.join(EXTENSIONS)}){held}"


def strays(found: Sequence[Found]) -> tuple[str, ...]:
  """Paths of the files that belong to no image name and that no sentence names, sorted."""
  left = {file.path for one in found for file in one.others}
  for one in found if left else ():
    left.difference_update(file.path for file in one.images.values())
  return tuple(sorted(left.difference(*lost(found))))


def unread(paths: Collection[str]) -> list[str]:
  """Chooses the strays that are images, or files of formats that are not read."""
  extensions = (*EXTENSIONS, *UNREADABLE)
  return [
    path
    for path in paths
    if _extension(path) in extensions and not os.path.basename(path).startswith(".")
  ]


def unreadable(found: Sequence[Found]) -> list[str]:
  """Returns a sentence on the records that lack nothing but a format that is read."""
  return unread_sentence([" and ".join(paths) for paths in lost(found)])


def unread_sentence(names: Sequence[str]) -> list[str]:
  """Returns a sentence on files of formats that are not read, where there are some."""
  return [f"{len(names)} left out for their format: {shorten(names)}; {READABLE}"] if names else []


def lost(found: Sequence[Found]) -> list[list[str]]:
  """Returns the unread files of each record that every folder holds, in whichever format.

  Where no folder has it in a format that is read, all of its formats must be known ones.
  """
  unread = []
  for key in sorted({key for one in found for key in one.unreadable}):
    paths = [one.unreadable[key].path for one in found if key in one.unreadable]
    readable = sum(key in one.images for one in found)
    known = all(_extension(path) in UNREADABLE for path in paths)
    if readable + len(paths) == len(found) and (readable or known):
      unread.append(paths)
  return unread


def _extension(path: str) -> str:
  return os.path.splitext(path)[1].lower()


def _alone(
  here: str,
  there: str,
  keys: Sequence[str],
  found: Mapping[str, Found],
  where: str,
  other: str,
  naming: Naming,
) -> list[str]:
  """Returns a sentence on images of one folder that the other lacks, in any format."""
  if not keys:
    return []
  ours = found[here]
  names, way = shorten(ours.names[key] for key in keys), advice(here, there, found, naming)
  return [
    f"{len(keys)} of {len(ours.images)} images in {where} have no partner of the same name in "
    f"{other}: {names}{f' ({way})' if way else ''}"
  ]


def advice(here: str, there: str, found: Mapping[str, Found], naming: Naming) -> str:
  """Suggests what would pair the images of two folders that have no partner; "" for nothing."""
  ours, theirs = found[here], found[there]
  alone = {
    image: [one.names[key] for key in sorted(set(one.images) - set(other.images))]
    for image, one, other in ((here, ours, theirs), (there, theirs, ours))
  }
  return advise(alone, bool(set(ours.images) & set(theirs.images)), naming)
