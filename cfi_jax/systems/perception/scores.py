"""Measurement of a network of perception: whole images of a split, one after the other."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from PIL import Image, ImageDraw

from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.normalised import normalise
from cfi_jax.data.source import Source
from cfi_jax.datasets.labelled.classes import IGNORED, Classes
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, NONE, VISIBLE
from cfi_jax.engine import feed
from cfi_jax.metrics import segmentation
from cfi_jax.metrics.detection import Boxes
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.inference import Perceiver, Seen
from cfi_jax.systems.perception.procedure import stream
from cfi_jax.systems.perception.samples import Labelled, make_sample

SURE = 0.3  # the least score of a box that is drawn
CARRIERS = {
  VISIBLE: "the visible image alone",
  INFRARED: "the infrared image alone",
  BOTH: "both images",
  NONE: "neither image",
}


@dataclasses.dataclass(frozen=True)
class Measured:
  """Counts of N images.

  names: of the images. confusions: int [N, classes, classes], None without segmentation. pairs:
  boxes found and true of each image, None without detection. carried: int [N, 2] by what carries
  the objects: their pixels that got the right class, and all; of the embedded world.
  """

  classes: Classes
  names: tuple[str, ...]
  confusions: np.ndarray | None
  pairs: list[tuple[Boxes, Boxes]] | None
  carried: dict[str, np.ndarray]


def open_split(config: Config, split: str) -> Source:
  """The images of a split by the config's rules of values; InputError where it has none."""
  own, options = stream(config, split), config.input
  if not len(own.source):
    raise InputError(f"{own.source.title} has no image to be scored on")
  if options.normalize_over == "image":
    return normalise(own.source, options.normalize, options.normalize_over)
  return feed.normalise({"samples": stream(config, "train")}, own)[1].source


def measure(
  source: Source,
  perceiver: Perceiver,
  classes: Classes,
  show: Callable[[int, Labelled, Seen], None] = lambda index, sample, seen: None,
) -> Measured:
  """Counts of every image of a source; show: is told each image's index, sample and perception."""
  fields, count = perceiver.architecture, len(classes.names)
  confusions, pairs = [], []
  carried: dict[str, list[tuple[int, int]]] = {name: [] for name in CARRIERS.values()}
  todo = track(_samples(source, fields.colour), "scoring", "image", len(source))
  for index, sample in enumerate(todo):
    seen = perceiver(sample.visible, sample.infrared)
    if seen.labels is not None:
      confusions.append(segmentation.confusion(sample.labels, seen.labels, count, IGNORED))
      if sample.carrier is not None:
        objects, right = sample.labels > 0, seen.labels == sample.labels
        for value, name in CARRIERS.items():
          own = objects & (sample.carrier == value)
          carried[name].append((int((own & right).sum()), int(own.sum())))
    if seen.objects is not None:
      pairs.append((seen.objects, _truth(sample)))
    show(index, sample, seen)
  return Measured(
    classes=classes,
    names=tuple(source.names),
    confusions=np.stack(confusions) if confusions else None,
    pairs=pairs or None,
    carried={name: np.array(rows) for name, rows in carried.items() if rows},
  )


def _samples(source: Source, colour: bool) -> Iterator[Labelled]:
  """Samples of whole images on the host; one at a time."""
  finish = jax.jit(functools.partial(make_sample, key=None, colour=colour))
  for index in range(len(source)):
    images = {
      name: image.astype(np.float32) / np.iinfo(image.dtype).max
      for name, image in source[index].items()
    }
    yield jax.device_get(finish(images))


def _truth(sample: Labelled) -> Boxes:
  there = sample.box_classes >= 0
  boxes = sample.boxes[there].astype(np.float64)
  return Boxes(boxes, sample.box_classes[there].astype(np.int64))


def draw(sample: Labelled, seen: Seen, classes: Classes) -> np.ndarray:
  """visible | infrared | truth | perceived, uint8 RGB [H, 4 W, 3], or less where labels lack.

  Boxes lie on the two images: the true ones on the visible, those found on the infrared image.
  """
  columns = []
  found = seen.objects and Boxes(*(
    x[seen.objects.scores >= SURE]
    for x in (seen.objects.boxes, seen.objects.classes, seen.objects.scores)
  ))  # fmt: skip
  true = None if sample.boxes is None else _truth(sample)
  for image, boxes in ((sample.visible, true), (sample.infrared, found)):
    rgb = np.broadcast_to(np.rint(255 * image).astype(np.uint8), (*image.shape[:2], 3))
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    pen = ImageDraw.Draw(picture)
    for (top, left, bottom, right), index in (
      () if boxes is None else zip(boxes.boxes, boxes.classes, strict=True)
    ):
      ends = (left, top, max(left, right - 1), max(top, bottom - 1))
      pen.rectangle(ends, outline=tuple(map(int, classes.palette[index])))
    columns.append(np.asarray(picture))
  if seen.labels is not None:
    columns += [classes.palette[x] for x in (sample.labels, seen.labels)]
  return np.concatenate(columns, axis=1)
