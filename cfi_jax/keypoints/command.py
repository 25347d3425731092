"""Keypoints of a folder of pictures, written as OpenPose's JSON."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import shorten
from cfi_jax.data.pictures import pictures_in, read_rgb
from cfi_jax.keypoints import blazepose

ENDING = "_keypoints.json"


def find_all(given: Mapping[str, Any]) -> int:
  """Finds the keypoints that the flags ask for; returns the exit status."""
  folder = storage.path(given["images"])
  pictures = pictures_in(folder)
  output = storage.path(given["output"]) if given["output"] else folder.parent / "keypoints"
  network = blazepose.load(given["model"], given["size"])
  require_folder(output)
  failures, empty = [], []
  for path in track(pictures, "finding keypoints", "picture"):
    try:
      found = network.find(read_rgb(path, given["max_pixels"]))
    except InputError as error:
      failures.append(str(error))
      continue
    empty += [path.name] if found is None else []
    write_atomically(output / f"{path.stem}{ENDING}", to_json(found).encode())
  for failure in failures:
    print(f"failed: {failure}", file=sys.stderr)
  if empty:
    print(f"note: nobody was found in {len(empty)} pictures: {shorten(empty)}")
  done = len(pictures) - len(failures) - len(empty)
  print(f"found a person in {done} of {len(pictures)} pictures: {output}")
  return 1 if failures else 0


def to_json(keypoints: np.ndarray | None) -> str:
  """OpenPose's JSON of one person [18, 3], or of nobody."""
  bodies = [] if keypoints is None else [keypoints]
  people = [{"pose_keypoints_2d": np.round(body, 3).ravel().tolist()} for body in bodies]
  return json.dumps({"version": 1.3, "people": people}) + "\n"
