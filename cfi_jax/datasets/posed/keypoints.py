"""Keypoint files of other projects, read into OpenPose's 18 points of COCO (`skeleton.JOINTS`).

Keypoints are [18, 3]: x and y in pixels from the upper left corner, and a flag: 0 missing, 2 found.
"""

import csv
import json
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.render import VISIBLE
from cfi_jax.datasets.figures.skeleton import JOINTS

# Places of our joints among the points of a layout, by their number: COCO's 18 and BODY_25 of
# OpenPose, and the 23 of Everybody Dance Now, in which the middle of the hips is left out.
LAYOUTS = {
  18: tuple(range(18)),
  25: (*range(8), *range(9, 19)),
  23: (18, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 13, 14, 15, 19, 21, 20, 22),
}
HEADER = ("name", "keypoints_y", "keypoints_x")  # of PATN's annotations


class Found(NamedTuple):
  """The person of a keypoint file, None where it has nobody, and the number of people in it."""

  keypoints: np.ndarray | None
  people: int


def read_openpose(text: str, label: str) -> Found:
  """The person of most confidence in OpenPose's JSON of one picture, of 18 or 25 points."""
  try:
    people = [person["pose_keypoints_2d"] for person in json.loads(text)["people"]]
    bodies = [np.array(numbers, np.float64).reshape(-1, 3) for numbers in people]
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise InputError(
      f"{label}: not OpenPose's JSON ({type(error).__name__}: {error}); allowed: "
      '{"people": [{"pose_keypoints_2d": [x, y, confidence, ...]}]}'
    ) from error
  return _choose(bodies, label)


def read_yaml(text: str, label: str) -> Found:
  """The person of most confidence in a matrix of OpenCV's YAML, [people, points, 3].

  So Everybody Dance Now keeps its poses (23 points), and OpenPose with --write_keypoint_format yml.
  """
  sizes = re.search(r"sizes:\s*\[([^\]]*)\]", text)
  data = re.search(r"data:\s*\[([^\]]*)\]", text)
  try:
    shape = [int(n) for n in sizes[1].split(",")]
    numbers = np.array([float(n) for n in data[1].split(",") if n.strip()])
    bodies = list(numbers.reshape(-1, *shape[1:]))
    if len(shape) != 3 or shape[2] != 3 or len(bodies) != shape[0]:
      raise ValueError(f"sizes {shape} with {numbers.size} numbers")
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise InputError(
      f"{label}: no matrix of points in OpenCV's YAML ({error}); allowed: sizes: [people, points, "
      "3] and data: [x, y, confidence, ...]"
    ) from error
  return _choose(bodies, label)


def _choose(bodies: list[np.ndarray], label: str) -> Found:
  """The body whose confidences have the greatest sum; those without a point are nobody."""
  for body in bodies:
    if len(body) not in LAYOUTS:
      raise InputError(
        f"{label}: a body of {len(body)} points; allowed: {', '.join(map(str, LAYOUTS))}"
      )
    if not np.isfinite(body).all():
      raise InputError(f"{label}: a point is not finite; missing points are 0, 0, 0")
  there = [body for body in bodies if (body[:, 2] > 0).any()]
  if not there:
    return Found(None, 0)
  chosen = max(there, key=lambda body: body[:, 2].sum())
  points = chosen[list(LAYOUTS[len(chosen)])]
  return Found(_flagged(points[:, :2], points[:, 2] > 0), len(there))


def read_annotations(text: str, label: str) -> dict[str, np.ndarray]:
  """Keypoints by the name of their picture, from a list of PATN, GFLA and others.

  Lines are name:keypoints_y:keypoints_x, each list JSON of 18 numbers, y before x; -1 is missing.
  """
  found = {}
  rows = csv.reader(text.splitlines(), delimiter=":")
  for line, row in _below(rows, HEADER, label):
    try:
      y, x = (np.array(json.loads(cell), np.float64) for cell in row[1:])
      if not x.shape == y.shape == (len(JOINTS),) or not np.isfinite([x, y]).all():
        raise ValueError(f"{y.size} and {x.size} numbers")
    except (ValueError, TypeError, RecursionError) as error:
      raise InputError(
        f"{label}: line {line}: {error}; allowed: NAME:[18 numbers, y]:[18 numbers, x]"
      ) from error
    if row[0] in found:
      raise InputError(f"{label}: line {line}: {row[0]} has keypoints already")
    found[row[0]] = _flagged(np.stack([x, y], -1), (x >= 0) & (y >= 0))
  return found


def read_pairs(text: str, label: str) -> list[tuple[str, str]]:
  """Pairs of names, (from, to), from a list of PATN, GFLA and others; each once, in order."""
  rows = csv.reader(text.splitlines())
  return list(dict.fromkeys((row[0], row[1]) for _, row in _below(rows, ("from", "to"), label)))


def _below(
  rows: Iterable[list[str]], header: tuple[str, ...], label: str
) -> Iterable[tuple[int, list[str]]]:
  """Numbers of lines and their stripped cells below a header; refuses other columns."""
  for line, row in enumerate(rows, 1):
    cells = [cell.strip() for cell in row]
    if line == 1:
      if tuple(cells) != header:
        raise InputError(f"{label}: begins with {','.join(cells)!r}; allowed: {', '.join(header)}")
    elif any(cells):
      if len(cells) != len(header):
        raise InputError(f"{label}: line {line} has {len(cells)} columns; allowed: {len(header)}")
      yield line, cells


def _flagged(places: np.ndarray, there: np.ndarray) -> np.ndarray:
  """Keypoints [18, 3]; missing ones are 0, 0, 0."""
  there = there[:, None]
  return np.where(there, np.concatenate([places, np.full_like(places[:, :1], VISIBLE)], 1), 0)


def outside(keypoints: np.ndarray, width: int, height: int) -> list[str]:
  """Joints beyond a picture's border, each with its place, for messages."""
  x, y, flag = keypoints.T
  beyond = (flag > 0) & ((x < 0) | (y < 0) | (x > width) | (y > height))
  return [f"{JOINTS[k]} at ({x[k]:g}, {y[k]:g})" for k in np.flatnonzero(beyond)]


READERS: dict[str, Callable[[str, str], Found]] = {  # by the end of a file's name
  "_keypoints.json": read_openpose,
  "_pose.yml": read_yaml,
  "_keypoints.yml": read_yaml,
}


def read_file(path: pathlib.Path) -> np.ndarray:
  """Keypoints [18, 3] of the person in a keypoint file; raises InputError without anybody."""
  reader = next((read for end, read in READERS.items() if path.name.endswith(end)), None)
  if reader is None:
    raise InputError(f"{path}: allowed are files that end in {', '.join(READERS)}")
  try:
    found = reader(path.read_text(encoding="utf-8-sig"), str(path)).keypoints
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"{path}: cannot be read ({error})") from error
  if found is None:
    raise InputError(f"{path}: has nobody")
  return found


def find_file(folder: pathlib.Path, stem: str) -> pathlib.Path:
  """The keypoint file of a picture in a folder; raises InputError without one."""
  for end in READERS:
    if (folder / f"{stem}{end}").is_file():
      return folder / f"{stem}{end}"
  names = ", ".join(f"{stem}{end}" for end in READERS)
  raise InputError(f"{folder}: holds no keypoints of {stem}; allowed: one of {names}")
