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
  their extension. problems: sentences on two images of one name. others: all other files.
  """

  images: Mapping[str, File]
  names: Mapping[str, str]
  unreadable: Mapping[str, File]
  problems: tuple[str, ...]
  others: tuple[File, ...]


def find(root: str, folders: Mapping[str, str], naming: Naming = PLAIN) -> dict[str, Found]:
  """Looks for the images of every folder, with those of folders below it.

  folders: image name -> folder below `root`. A folder below another of them is not part of that
  one. In a folder of several image names a file belongs to that with the longest prefix and suffix.
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
    found[image] = _of_image(image, folder, files, naming, rivals)
  return found


def _of_image(
  image: str,
  folder: str,
  files: tuple[list[File], list[File]],
  naming: Naming,
  rivals: Collection[str],
) -> Found:
  """Takes the files of one image name; rivals: all image names of that folder."""
  images: dict[str, File] = {}
  names: dict[str, str] = {}
  unreadable: dict[str, File] = {}
  problems, others = [], []
  for is_image, group in zip((True, False), files, strict=True):
    for file in group:
      path = file.path.removeprefix(os.path.join(folder, ""))
      name = naming.name(image, path)
      if name is None or _owner(path, naming, rivals) != image:
        others.append(file)
        continue
      key = naming.key(name)
      if not is_image:
        unreadable.setdefault(key, file)
        others.append(file)
      elif key in images:
        problems.append(f"two images of one name: {images[key].path} and {file.path}")
      else:
        images[key], names[key] = file, name
  unreadable = {key: file for key, file in unreadable.items() if key not in images}
  return Found(images, names, unreadable, tuple(problems), tuple(others))


def _owner(path: str, naming: Naming, rivals: Collection[str]) -> str:
  """Names the image whose prefix and suffix are longest among those that a file has."""
  fitting = [image for image in rivals if naming.name(image, path) is not None]
  return max(fitting, key=lambda image: sum(map(len, naming.affix(image))))


def match_folders(root: str, folders: Mapping[str, str], naming: Naming = PLAIN) -> Listing:
  """Makes records of equally named images in folders below `root`; extensions may differ.

  folders: image name -> folder. A record has the name of its file in the first folder. Raises
  InputError as `find` does, and when no folder holds an image. Names that a folder lacks, holds
  twice or holds in a format that is not read are returned as problems, other files as strays.
  """
  found = find(root, folders, naming)
  whole = {image: storage.join(root, folder) for image, folder in folders.items()}
  if not any(one.images for one in found.values()):
    where = " nor in ".join(dict.fromkeys(whole.values()))
    raise InputError(no_image(where, list(found.values()), naming, folders))
  problems = [problem for one in found.values() for problem in one.problems]
  for here, there in itertools.permutations(folders, 2):
    problems += _alone(here, there, found, whole[here], folders[there], naming)
  problems += unreadable(list(found.values()))
  first, *_ = found.values()
  keys = set.intersection(*(set(one.images) for one in found.values()))
  records = [
    Record(first.names[key], {image: one.images[key] for image, one in found.items()})
    for key in keys
  ]
  records.sort(key=lambda record: record.name)
  return Listing(tuple(records), tuple(problems), strays(list(found.values())))


def no_image(where: str, found: Sequence[Found], naming: Naming, images: Collection[str]) -> str:
  """Says that there is no image, which were looked for, and what is there instead."""
  needed = [
    f"{image} {part} {affix!r}"
    for image in images
    for part, affix in zip(("prefix", "suffix"), naming.affix(image), strict=True)
    if affix
  ]
  fitting = f" with {', '.join(needed)}" if needed else ""
  others = [*itertools.chain(*_lost(found)), *unread(strays(found))]
  held = f"; left out: {shorten(others)}" if others else ""
  return f"no image{fitting} in {where} (looked for {', '.join(EXTENSIONS)}){held}"


def strays(found: Sequence[Found]) -> tuple[str, ...]:
  """Paths of the files that belong to no image name and that no sentence names, sorted."""
  used = {file.path for one in found for file in one.images.values()}
  used |= {path for paths in _lost(found) for path in paths}
  return tuple(sorted({file.path for one in found for file in one.others} - used))


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
  lost = [" and ".join(paths) for paths in _lost(found)]
  return [f"{len(lost)} left out for their format: {shorten(lost)}; {READABLE}"] if lost else []


def _lost(found: Sequence[Found]) -> list[list[str]]:
  """Returns the unread files of each record that every folder holds, in whichever format.

  Where no folder has it in a format that is read, all of its formats must be known ones.
  """
  lost = []
  for key in sorted({key for one in found for key in one.unreadable}):
    paths = [one.unreadable[key].path for one in found if key in one.unreadable]
    readable = sum(key in one.images for one in found)
    known = all(_extension(path) in UNREADABLE for path in paths)
    if readable + len(paths) == len(found) and (readable or known):
      lost.append(paths)
  return lost


def _extension(path: str) -> str:
  return os.path.splitext(path)[1].lower()


def _alone(
  here: str, there: str, found: Mapping[str, Found], where: str, other: str, naming: Naming
) -> list[str]:
  """Returns a sentence on images of one folder that the other lacks, in any format."""
  ours, theirs = found[here], found[there]
  alone = sorted(set(ours.images) - set(theirs.images) - set(theirs.unreadable))
  if not alone:
    return []
  names, way = shorten(ours.names[key] for key in alone), advice(here, there, found, naming)
  return [
    f"{len(alone)} of {len(ours.images)} images in {where} have no partner of the same name in "
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
