"""Finding the pairs to fuse: two files, two folders, or radiometric JPEGs, and their masks."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data import matching
from cfi_jax.data.listing import enumerate_problems, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.data.pairs import FoundPairs, PairFiles, find_embedded, find_pairs, require_alike
from cfi_jax.data.shards import ALL, Made, Shard
from cfi_jax.fuse.reading import Job
from cfi_jax.images import write as pictures


@dataclasses.dataclass(frozen=True)
class Found:
  """The pairs to fuse; sentences on names that are no pairs; images and the like left out.

  failures: the names that are no pairs, one by one, with the reason of each.
  """

  jobs: Sequence[Job]
  problems: list[str]
  left_out: list[str]
  failures: Sequence[tuple[str, str]] = ()


def find_jobs(
  visible: pathlib.Path,
  infrared: pathlib.Path,
  output: str | os.PathLike,
  extension: str,
  naming: Naming = PLAIN,
  valid: Mapping[str, pathlib.Path] | None = None,
  shard: Shard = ALL,
) -> Found:
  """Finds the pairs of two files, or of two folders and those below them.

  valid: by modality a mask for all of its images, or a folder of masks that are named as they are.
  output: for two files a file, whose extension may be left out, or a folder: one that exists or
    ends with a slash. For two folders a folder; it gets the folders below them, too.
  shard: of folders, the pairs are that shard's alone.
  """
  require_alike(visible, infrared)
  valid = {} if valid is None else valid
  _require_masks(valid)
  pictures.check_extension(extension)
  if not visible.is_dir():
    output = _output_file(visible, output, extension)
    if output.resolve() in (visible.resolve(), infrared.resolve()):
      raise InputError(f"--output={output} is one of the images themselves")
    _require_single_masks(valid, output, "two files need")
    (pair,) = find_pairs(visible, infrared).pairs
    job = Job(visible.name, pair.visible, pair.infrared, output, valid=valid)
    return Found([job] if shard.holds(job.name) else [], [], [])
  folders = {"visible": visible, "infrared": infrared}
  found = find_pairs(visible, infrared, naming, shard=shard)
  return _of_folders(found, folders, output, extension, naming, valid)


def find_embedded_jobs(
  path: pathlib.Path,
  output: str | os.PathLike,
  extension: str,
  naming: Naming = PLAIN,
  valid: Mapping[str, pathlib.Path] | None = None,
  shard: Shard = ALL,
) -> Found:
  """Finds the pairs that radiometric JPEGs hold, of a file or a folder; see `find_jobs`."""
  pictures.check_extension(extension)
  valid = {} if valid is None else valid
  _require_masks(valid)
  found = find_embedded(path, naming, shard)
  if path.is_dir():
    return _of_folders(found, {"infrared": path}, output, extension, naming, valid)
  output = _output_file(path, output, extension)
  if output.resolve() == path.resolve():
    raise InputError(f"--output={output} is the image itself")
  _require_single_masks(valid, output, "one file needs")
  job = Job(path.name, path, path, output, valid=valid, embedded=True)
  return Found([job] if shard.holds(job.name) else [], [], [])


def _require_masks(valid: Mapping[str, pathlib.Path]) -> None:
  for path in valid.values():
    if not path.exists():
      raise InputError(f"{path}: does not exist")


def _require_single_masks(
  valid: Mapping[str, pathlib.Path], output: pathlib.Path, need: str
) -> None:
  """Raises InputError where the mask of a single pair is a folder, or the file of the result."""
  for image, path in valid.items():
    if path.is_dir() or output.resolve() == path.resolve():
      what = f"a folder; {need} a file" if path.is_dir() else "the output, too"
      raise InputError(f"--{image}_valid={path} is {what}")


def _of_folders(
  found: FoundPairs,
  folders: Mapping[str, pathlib.Path],
  output: str | os.PathLike,
  extension: str,
  naming: Naming,
  valid: Mapping[str, pathlib.Path],
) -> Found:
  """The jobs of pairs from folders; see `find_jobs`."""
  output = storage.path(output)
  if output.is_file():
    given = "two folders need" if len(folders) == 2 else "a folder needs"
    raise InputError(f"--output={output} is a file; {given} a folder")
  for image, folder in folders.items():
    inside = output.resolve().is_relative_to(folder.resolve())
    if inside and any(naming.name(image, p.name + extension) is not None for p in found.pairs):
      raise InputError(
        f"--output={output} is a folder of the images themselves, or inside one: results would be "
        f"taken for {image} images the next time; choose another folder"
      )

  def make(index: int) -> Job:
    return _job(found.pairs[index], output, extension)

  jobs: Sequence[Job] = Made(range(len(found.pairs)), make)
  lacking: dict[str, str] = {}
  problems = [*found.problems]
  for image, path in valid.items():
    jobs, without, sentences = _with_masks(jobs, image, path, output, naming)
    lacking |= dict.fromkeys(without, f"no mask of the {image} image's name in {path}")
    problems += sentences
  if not jobs and found.pairs:
    raise InputError(enumerate_problems("there is no pair with its masks", problems))
  return Found(jobs, problems, found.left_out, [*found.failures, *lacking.items()])


def _job(pair: PairFiles, output: pathlib.Path, extension: str) -> Job:
  result = output / (pair.name + extension)
  return Job(pair.name, pair.visible, pair.infrared, result, embedded=pair.embedded)


def _with_masks(
  jobs: Iterable[Job], image: str, path: pathlib.Path, output: pathlib.Path, naming: Naming
) -> tuple[list[Job], list[str], list[str]]:
  """The jobs whose image has a mask, with it, the names of the others, and sentences on them."""
  jobs, sentences = list(jobs), []
  files = dict.fromkeys((job.name for job in jobs), path)
  if path.is_dir():
    files, sentences = _find_masks(files, path, image, naming)
    if output.resolve().is_relative_to(path.resolve()):
      raise InputError(
        f"--output={output} is the folder of masks --{image}_valid, or inside it; choose another"
      )
  masked = [
    dataclasses.replace(job, valid={**job.valid, image: files[job.name]})
    for job in jobs
    if job.name in files
  ]
  return masked, [job.name for job in jobs if job.name not in files], sentences


def _find_masks(
  names: Collection[str], folder: pathlib.Path, image: str, naming: Naming
) -> tuple[dict[str, pathlib.Path], list[str]]:
  """The masks in a folder by the names of pairs, and sentences on pairs that have none."""
  flag = f"{image}_valid"
  rule = dataclasses.replace(naming, affixes={flag: naming.affix(image)}, options="")
  found = matching.find(os.sep, {flag: os.fspath(folder.resolve())}, rule)[flag]
  files = {name: found.images.get(naming.key(name)) for name in names}
  masks_of = {n: storage.path(os.sep, file.path) for n, file in files.items() if file is not None}
  problems = list(found.twice.values())
  if lacking := [name for name in names if name not in masks_of]:
    problems.append(
      f"{len(lacking)} of {len(names)} pairs have no mask of the {image} image's name in "
      f"--{flag}={folder}: {shorten(lacking)}"
    )
  return masks_of, problems


def _output_file(visible: pathlib.Path, output: str | os.PathLike, extension: str) -> pathlib.Path:
  """The result's file: in a folder under the visible image's name, else with an extension."""
  path = storage.path(output)
  if path.is_dir() or os.fspath(output).endswith(("/", os.sep)):
    path = path / (visible.stem + extension)
  elif not path.suffix:
    path = path.with_name(path.name + extension)
  pictures.check_extension(path.suffix)
  return path
