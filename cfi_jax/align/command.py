"""The command of aligning: pairs of files read, the rig told of, and written if it is believed."""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cfi_jax.align import picture
from cfi_jax.core import storage
from cfi_jax.core.files import require_folder
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data import naming, pairs
from cfi_jax.data.listing import evenly, shorten
from cfi_jax.data.pairs import PairFiles, find_embedded, find_pairs
from cfi_jax.data.threads import each
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.registration.pairs import find
from cfi_jax.registration.rig import ADVICE, Rig, text
from cfi_jax.sequences.pair import is_sequence, open_both
from cfi_jax.sequences.together import together

FOREIGN = 0.02  # of the width: a pair that would be shifted farther is marked


def align(given: Mapping[str, Any]) -> int:
  """Aligns the pairs that the flags name; returns the exit status."""
  Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; --max_pixels is checked for every file
  save = storage.path(given["save"])
  check = storage.path(given["picture"]) if given["picture"] else None
  if given["pairs"] < 1:
    raise InputError(f"--pairs={given['pairs']}; allowed: 1 or more")
  if save.is_dir():
    raise InputError(f"--save={save} is a folder; allowed: a file")
  if check is not None:
    pictures.check_extension(check.suffix)
  for path in filter(None, (save, check)):
    require_folder(path.parent)
  names, visibles, infrareds, count = _of_sequences(given) if is_sequence(given) else _of(given)
  rig = find(visibles, infrareds, names=names, mounting=given["mounting"], accept=given["accept"])
  print("\n".join(_describe(rig, count)))
  if check is not None:
    pictures.write_image(check, picture.draw(rig, visibles, infrareds))
    print(f"picture: {check}")
  if not rig.confidence.holds:
    if not given["accept"]:
      print(f"refused, nothing is saved: {rig.confidence.describe()}; {ADVICE}", file=sys.stderr)
      return 1
    print("warning: saved by --accept, though it cannot be believed", file=sys.stderr)
  rig.save(save)
  print(f"saved {save}; python -m cfi_jax.fuse --align={save} fuses with it")
  return 0


Chosen = tuple[list[str], list[np.ndarray], list[np.ndarray], int]  # names, images, of how many


def _of(given: Mapping[str, Any]) -> Chosen:
  """Pairs of files."""
  sources, rule = pairs.sources(given), naming.from_options(given)
  if len(sources) == 2:
    found = find_pairs(*sources, rule, "align")
  else:
    found = find_embedded(*sources, rule)
  for problem in found.problems:
    print(f"note: {problem}", file=sys.stderr)
  if found.left_out:
    print(f"note: {len(found.left_out)} files are left out: {shorten(found.left_out)}")
  chosen = [found.pairs[place] for place in evenly(len(found.pairs), given["pairs"])]
  visibles, infrareds = _read(chosen, given["max_pixels"])
  return [pair.name for pair in chosen], visibles, infrareds, len(found.pairs)


def _of_sequences(given: Mapping[str, Any]) -> Chosen:
  """Frames of two sequences that are pairs."""
  recordings, matched = open_both(given)
  count = len(matched.visible)
  places = evenly(count, given["pairs"])
  numbers = matched.visible[places], matched.infrared[places]
  frames = track(together(recordings, numbers), "reading", "frame", len(places))
  visibles, infrareds = zip(*frames, strict=True)
  return [f"frame {n}" for n in numbers[0]], list(visibles), list(infrareds), count


def _read(
  chosen: Sequence[PairFiles], max_pixels: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
  """The visible and the infrared images [H, W, C] as they are stored."""

  def one(part: tuple[pathlib.Path, bool]) -> np.ndarray:
    path, embedded = part
    return images.read_image(path, max_pixels, embedded)

  for path in (pair.visible for pair in chosen if not pair.embedded):
    with images.open_picture(path) as file:
      images.require_visible(file, str(path))

  files = [
    part for pair in chosen for part in ((pair.visible, pair.embedded), (pair.infrared, False))
  ]
  read = each(one, files, "reading", "file")
  return read[::2], read[1::2]


def _describe(rig: Rig, count: int) -> list[str]:
  """Lines on the rig: each pair, the sizes, the share, and the numbers it is judged by."""
  width = rig.visible[1]
  lines = ["correlation of edges   own shift (x, y)   pair"]
  for score in rig.scores:
    far = np.hypot(*score.shift) > FOREIGN * width
    mark = "   does not fit: another scene, a moved camera, or too near" if far else ""
    x, y = score.shift
    lines.append(f"{score.ncc:20.3f}   {x:7.1f} {y:7.1f} px   {score.name}{mark}")
  more = f" of {count}" if count > len(rig.scores) else ""
  lines.append(
    f"{len(rig.scores)}{more} pairs, visible {text(rig.visible)}, infrared {text(rig.infrared)}; "
    f"the infrared camera sees {100 * rig.share:.1f} % of the visible picture"
  )
  lines.append(rig.confidence.describe())
  return lines
