"""Labelled image files as a source: label images as classes, boxes as pictures."""

import dataclasses
import os

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Record
from cfi_jax.data.source import FileSource, require_one_size
from cfi_jax.datasets.files import Examined
from cfi_jax.datasets.labelled import boxes as boxes_lib
from cfi_jax.datasets.labelled.classes import IGNORED, Classes, looks_interpolated
from cfi_jax.images import read as images
from cfi_jax.images.read import Header
from cfi_jax.metrics.detection import Boxes

LABELS, BOXES = "labels", "boxes"  # files of a record beside its images
TRUTH = (LABELS, BOXES)
OBJECTS = "objects"  # the picture that boxes become, see `boxes.encode`


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledSource(FileSource):
  """A `FileSource` whose records have the file "labels" or "boxes", or both, beside two images.

  A sample has uint8 "labels" [H, W, 1], indices of `classes`, and uint8 "objects" [H, W, slots].
  numbering: class by the number that text files have for it, where it is not that of `classes`.
  """

  classes: Classes
  slots: int = 0
  numbering: tuple[int, ...] = ()

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Reads a record's images as stored, its labels and objects as they are computed with."""
    record = self.records[index]
    found = {name: self._decode(name, file) for name, file in record.files.items() if name != BOXES}
    require_one_size(self.store, record, {name: image.shape[:2] for name, image in found.items()})
    if BOXES in record.files:
      height, width = next(iter(found.values())).shape[:2]
      file = record.files[BOXES]
      boxes = self._boxes(file, height, width)
      label = self.store.label(file.path)
      found[OBJECTS] = boxes_lib.encode(boxes, height, width, self.slots, label)
    return found

  def examine(self, record: Record) -> Examined:
    """Reads the labels and boxes of a record of sound images."""
    problems: list[str] = []
    classes: set[int] = set()
    size = next(self._size(file) for name, file in record.files.items() if name not in TRUTH)
    if LABELS in record.files:
      file = record.files[LABELS]
      label = self.store.label(file.path)
      try:
        labels = self._decode(LABELS, file)
        classes |= {*np.unique(labels).tolist()} - {IGNORED}
        if labels.shape[:2] != size:
          problems.append(
            f"{label} has {labels.shape[0]} rows and {labels.shape[1]} columns, its images "
            f"{size[0]} and {size[1]}: was it resized?"
          )
        if looks_interpolated(labels):
          problems.append(
            f"{label}: along borders lie classes between those on both sides: it was resized like "
            "a picture; labels are resized by their nearest neighbour"
          )
      except InputError as error:
        problems.append(str(error))
    if BOXES in record.files:
      try:
        classes |= {*self._boxes(record.files[BOXES], *size).classes.tolist()}
      except InputError as error:
        problems.append(str(error))
    return Examined(tuple(problems), frozenset(self.classes.names[index] for index in classes))

  def _to_compute(self, name: str, image: np.ndarray) -> np.ndarray:
    return image if name in (LABELS, OBJECTS) else super()._to_compute(name, image)

  def _decode(self, name: str, file: File) -> np.ndarray:
    if name != LABELS:
      return super()._decode(name, file)
    with self.store.open(file.path) as stream:
      return self.classes.read(stream, self.store.label(file.path))

  def _headers(self, record: Record) -> dict[str, Header] | str:
    pictures = {name: file for name, file in record.files.items() if name != BOXES}
    headers = super()._headers(dataclasses.replace(record, files=pictures))
    if isinstance(headers, str):
      return headers
    if LABELS in headers:
      headers[LABELS] = dataclasses.replace(headers[LABELS], depth=np.uint8, channels=1)
    if BOXES in record.files:
      first = next(iter(headers.values()))
      try:
        self._boxes(record.files[BOXES], first.height, first.width)
      except InputError as error:
        return str(error)
      headers[OBJECTS] = Header(first.height, first.width, np.uint8, self.slots)
    return headers

  def _size(self, file: File) -> tuple[int, int]:
    with self.store.open(file.path) as stream:
      return images.inspect(stream, self.store.label(file.path))

  def _boxes(self, file: File, height: int, width: int) -> Boxes:
    """The boxes of a file; InputError for more than slots."""
    label = self.store.label(file.path)
    with self.store.open(file.path) as stream:
      try:
        text = stream.read().decode("utf-8-sig")
      except UnicodeDecodeError as error:
        raise InputError(f"{label}: cannot be read as text (UTF-8): {error}") from error
    if os.path.splitext(file.path)[1].lower() == ".xml":
      boxes = boxes_lib.read_voc(text, label, self.classes, height, width)
    else:
      boxes = boxes_lib.read_yolo(text, label, self.classes, height, width, self.numbering)
    boxes_lib.require_slots(boxes, self.slots, label)
    return boxes
