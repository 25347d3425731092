"""Opening recordings: folders of numbered images, TIFFs of several pages, and videos."""

import itertools
import os
import pathlib
import re
from fractions import Fraction

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import files_in, shorten
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.images import read as images
from cfi_jax.images import tiff
from cfi_jax.sequences.recording import Files, Pages, Recording, Timing

VIDEOS = (".mkv", ".mp4", ".mov", ".avi", ".m4v", ".webm")


def is_video(path: pathlib.Path) -> bool:
  """Whether a path is named as a video is."""
  return path.suffix.lower() in VIDEOS


def is_recording(path: pathlib.Path) -> bool:
  """Whether a file is one of many frames: a video by its name, or a TIFF of several pages."""
  if is_video(path):
    return True
  if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
    return False
  with images.open_picture(path) as file:
    return tiff.count_pages(file) > 1


def open_recording(
  path: pathlib.Path,
  name: str,
  *,
  naming: Naming = PLAIN,
  rate: Fraction | None = None,
  max_pixels: int = images.MAX_PIXELS,
) -> Recording:
  """Opens a folder of numbered images, a TIFF of several pages or a video.

  name: of the images, whose prefix and suffix files of a folder have. rate: frames a second of
  folders and TIFFs, which do not say it. Raises InputError for what is none of these, for a folder
  whose frames have no number, one twice or gaps between them, for radiometric JPEGs as visible
  frames, and for a video without PyAV.
  """
  if not path.exists():
    raise InputError(f"{path}: does not exist")
  base = None if rate is None else 1 / rate
  if path.is_dir():
    return _open_folder(path, name, naming, base, max_pixels)
  if is_video(path):
    from cfi_jax.sequences import video  # here, as it needs an extra

    return video.open_video(path, max_pixels)
  with images.open_picture(path) as file:
    pages = tiff.count_pages(file)
  if pages < 2:
    raise InputError(
      f"{path}: no sequence; allowed: a folder of numbered images, a TIFF of several pages, or a "
      f"video ({', '.join(VIDEOS)})"
    )
  return Pages(os.fspath(path), Timing(np.arange(pages), base), max_pixels)


def number_of(name: str) -> int | None:
  """The last number in the name of a frame, None where there is none."""
  found = re.search(r"(\d+)\D*$", name)
  return int(found[1]) if found else None


def _open_folder(
  path: pathlib.Path, name: str, naming: Naming, base: Fraction | None, max_pixels: int
) -> Files:
  found, _ = files_in(os.sep, os.fspath(path.resolve()), subfolders=False)
  numbered: dict[int, tuple[pathlib.Path, str]] = {}
  for file in found:
    whole = storage.path(os.sep, file.path)
    own = naming.name(name, whole.name)
    if own is None:
      continue
    number = number_of(own)
    if number is None:
      raise InputError(f"{whole}: a frame of a sequence without a number in its name")
    if number in numbered:
      raise InputError(f"{whole} and {numbered[number][0].name} are two frames of one number")
    numbered[number] = whole, own
  if not numbered:
    affixes = "".join(f" with {affix!r}" for affix in naming.affix(name) if affix)
    raise InputError(f"{path}: holds no {name} frame{affixes}")
  numbers = sorted(numbered)
  gaps = [f"{a + 1} to {b - 1}" for a, b in itertools.pairwise(numbers) if b > a + 1]
  if gaps:
    raise InputError(f"{path}: {name} frames are missing: {shorten(gaps)}")
  paths, names = zip(*(numbered[k] for k in numbers), strict=True)
  if name == "visible":
    with images.open_picture(paths[0]) as file:
      images.require_visible(file, os.fspath(paths[0]))
  # Counters of cameras begin anywhere; times, which a video written of them has, begin at 0.
  timing = Timing(np.arange(len(numbers)), base)
  return Files(os.fspath(path), paths, names, timing, max_pixels)
