"""Boxes of objects: annotation files, and boxes as pictures that crops and flips treat like others.

A box is [top, left, bottom, right] in pixels, lower and right ends excluded.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.labelled.classes import Classes
from cfi_jax.metrics.detection import Boxes

EXTENSIONS = (".xml", ".txt")
_SLACK = 2  # pixels by which a box may leave the image, as rounding makes it
_ENDS = ("ymin", "xmin", "ymax", "xmax")


def read_voc(text: str, label: str, classes: Classes, height: int, width: int) -> Boxes:
  """Boxes of a PASCAL VOC annotation (XML), whose ends count from 1 and are included.

  Raises InputError, with the label of the file, for other XML, a class that is unknown, a box that
  leaves the image [height, width], and a stated size that is another one.
  """
  if re.search(r"<!\s*(DOCTYPE|ENTITY)", text):
    raise InputError(f"{label}: declares a document type; allowed: plain PASCAL VOC annotations")
  try:
    root = ElementTree.fromstring(text)
  except ElementTree.ParseError as error:
    raise InputError(f"{label}: is no XML ({error})") from error
  size = [_number(root, f"size/{side}", label) for side in ("height", "width")] if (
    root.find("size") is not None
  ) else [height, width]  # fmt: skip
  if all(size) and size != [height, width]:
    raise InputError(
      f"{label} is of an image of {size[0]:g} rows and {size[1]:g} columns, and the image has "
      f"{height} and {width}: was it resized?"
    )
  boxes, numbers = [], []
  for found in root.iter("object"):
    name = found.findtext("name")
    if name is None:
      raise InputError(f"{label}: an object has no name")
    numbers.append(_known(classes, name, label))
    top, left, bottom, right = (_number(found, f"bndbox/{end}", label) for end in _ENDS)
    boxes.append((top - 1, left - 1, bottom, right))
  return _inside(boxes, numbers, label, height, width)


def read_yolo(
  text: str,
  label: str,
  classes: Classes,
  height: int,
  width: int,
  numbering: Sequence[int] = (),
) -> Boxes:
  """Boxes of lines "class x y width height", in shares of the image, by their middles.

  numbering: class by the number that stands for it; () for the order of `classes`. Raises
  InputError like `read_voc`, naming the line.
  """
  numbering = numbering or range(len(classes.names))
  boxes, numbers = [], []
  for number, line in enumerate(text.splitlines(), start=1):
    if not line.strip():
      continue
    try:
      index, *shares = map(float, line.split())
    except ValueError:
      index, shares = -1.0, []
    if len(shares) != 4 or not np.isfinite(shares).all():
      raise InputError(f"{label}, line {number} is {line!r}; allowed: class x y width height")
    if index not in range(len(numbering)):
      names = ", ".join(classes.names[known] for known in numbering)
      raise InputError(
        f"{label}, line {number}: class {index:g}; allowed: 0 to {len(numbering) - 1} ({names})"
      )
    x, y, w, h = np.array(shares) * [width, height, width, height]
    boxes.append((y - h / 2, x - w / 2, y + h / 2, x + w / 2))
    numbers.append(numbering[int(index)])
  return _inside(boxes, numbers, label, height, width)


def _known(classes: Classes, name: str, label: str) -> int:
  try:
    return classes.number(name)
  except InputError as error:
    raise InputError(f"{label}: {error}") from error


def _number(node: ElementTree.Element, path: str, label: str) -> float:
  text = node.findtext(path)
  try:
    value = float(text or "")
  except ValueError:
    value = float("nan")
  if not np.isfinite(value):
    raise InputError(f"{label}: {path} is {text!r}; allowed: a number")
  return value


def _inside(boxes: list, numbers: list[int], label: str, height: int, width: int) -> Boxes:
  """The boxes, cut to the image; refuses empty ones and those that leave it."""
  found = np.array(boxes, np.float64).reshape(-1, 4)
  limits = np.array([height, width, height, width])
  clipped = np.clip(found, 0, limits)
  empty = (np.rint(clipped[:, 2:]) <= np.rint(clipped[:, :2])).any(1)
  wrong = (abs(found - clipped) > _SLACK).any(1) | empty
  if wrong.any():
    raise InputError(
      f"{label}: box {[round(float(v), 2) for v in found[wrong][0]]} (top, left, bottom, right); "
      f"allowed: boxes of a pixel or more inside {height} rows and {width} columns"
    )
  return Boxes(clipped, np.array(numbers, np.int64))


def require_slots(boxes: Boxes, slots: int, label: str) -> None:
  """Raises InputError, with the label, for more boxes than slots."""
  if len(boxes.classes) > slots:
    raise InputError(
      f"{label}: {len(boxes.classes)} boxes; data.most_boxes allows {slots}: raise it"
    )


def encode(boxes: Boxes, height: int, width: int, slots: int, label: str) -> np.ndarray:
  """Pictures of boxes, uint8 [height, width, slots]: class + 1 inside a box, one box a channel.

  Ends are rounded to whole pixels. Raises InputError, with the label, for more boxes than slots.
  """
  require_slots(boxes, slots, label)
  picture = np.zeros((height, width, slots), np.uint8)
  ends = np.rint(boxes.boxes).astype(int)
  for slot, ((top, left, bottom, right), index) in enumerate(zip(ends, boxes.classes, strict=True)):
    picture[top:bottom, left:right, slot] = index + 1
  return picture


def decode(pictures: Array) -> tuple[Array, Array]:
  """Boxes [slots, 4] and classes [slots] of pictures [H, W, slots] of whole numbers; traced.

  A box is that of what a crop has left of it, or of an object's mask. Empty slots are 0 with class
  -1.
  """
  inside = pictures > 0
  rows, columns = inside.any(1), inside.any(0)
  there = rows.any(0)
  low = [jnp.argmax(lines, axis=0) for lines in (rows, columns)]
  high = [len(lines) - jnp.argmax(lines[::-1], axis=0) for lines in (rows, columns)]
  boxes = jnp.where(there[:, None], jnp.stack([*low, *high], axis=-1), 0)
  classes = jnp.where(there, pictures.max((0, 1)).astype(jnp.int32) - 1, -1)
  return boxes.astype(jnp.float32), classes
