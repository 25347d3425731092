"""Scores of a trained network of perception on a held-out split of labelled images."""

import csv
import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw

from cfi_jax import systems
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.normalised import normalise
from cfi_jax.data.source import Source
from cfi_jax.datasets.labelled.classes import IGNORED, Classes
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, NONE, VISIBLE
from cfi_jax.engine import feed
from cfi_jax.images.write import write_image
from cfi_jax.metrics import detection, segmentation
from cfi_jax.metrics.detection import Boxes
from cfi_jax.report import estimates
from cfi_jax.report.estimates import Estimate, percentiles
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.systems.files import label, load, load_any
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.inference import Perceiver, Seen
from cfi_jax.systems.perception.procedure import stream
from cfi_jax.systems.perception.samples import Labelled, make_sample

HELD_OUT = ("test", "validation")
PICTURES = 20
SURE = 0.3  # the least score of a box that is drawn
CARRIERS = {
  VISIBLE: "the visible image alone",
  INFRARED: "the infrared image alone",
  BOTH: "both images",
  NONE: "neither image",
}
RESAMPLES, RESAMPLES_OF_BOXES = 2000, 200


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of N images.

  names: of the images. confusions: int [N, classes, classes], None without segmentation. pairs:
  boxes found and true of each image, None without detection. carried: int [N, 2] by what carries
  the objects: their pixels that got the right class, and all; of the embedded world.
  """

  classes: Classes
  names: tuple[str, ...]
  confusions: np.ndarray | None
  pairs: list[tuple[Boxes, Boxes]] | None
  carried: dict[str, np.ndarray]

  def segmentation(self) -> dict[str, Estimate]:
    """IoU of every class and "mIoU", by the global confusion matrix; intervals over images.

    "mIoU per image" is the mean of the images' own.
    """
    if self.confusions is None:
      return {}
    weights = estimates.draws(len(self.names), 0, RESAMPLES)
    found = segmentation.intersection_over_union(self.confusions.sum(0))
    drawn = segmentation.intersection_over_union(np.tensordot(weights, self.confusions, 1))
    rows = {name: percentiles(found[c], drawn[:, c]) for c, name in enumerate(self.classes.names)}
    known = ~np.isnan(found)
    rows["mIoU"] = percentiles(segmentation.mean(found), np.nanmean(drawn[:, known], axis=1))
    per_image = segmentation.mean_iou_per_image(self.confusions)
    return rows | {"mIoU per image": estimates.estimate(per_image)}

  def attribution(self) -> dict[str, Estimate]:
    """Share of the objects' pixels with the right class, by what carries the object."""
    if not self.carried:
      return {}
    weights = estimates.draws(len(self.names), 0, RESAMPLES)
    rows = {}
    for name, counts in self.carried.items():
      if not counts[:, 1].sum():
        continue
      sums = weights @ counts
      shares = sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan)
      rows[name] = percentiles(counts[:, 0].sum() / counts[:, 1].sum(), shares)
    return rows

  def detection(self) -> dict[str, Estimate]:
    """AP50 of every class that has boxes, "AP50" and "AP50:95", with intervals over images."""
    if self.pairs is None:
      return {}
    matches = [
      [detection.match(found.of_class(c), true.of_class(c)) for found, true in self.pairs]
      for c in range(len(self.classes.names))
    ]

    def measure(images: np.ndarray) -> np.ndarray:
      return np.stack([detection.average_precision([own[i] for i in images]) for own in matches])

    found = measure(np.arange(len(self.names)))
    drawn = [
      measure(np.repeat(np.arange(len(self.names)), row))
      for row in estimates.draws(len(self.names), 0, RESAMPLES_OF_BOXES)
    ]
    rows = {
      f"{name} (AP50)": percentiles(found[c, 0], np.array([d[c, 0] for d in drawn]))
      for c, name in enumerate(self.classes.names)
      if not np.isnan(found[c, 0])
    }
    means = [detection.summarise(d) for d in drawn]
    return rows | {
      name: percentiles(value, np.array([m[name] for m in means]))
      for name, value in detection.summarise(found).items()
    }

  def tables(self) -> dict[str, dict[str, Estimate]]:
    """Every table that has rows, by its title."""
    found = {
      "Intersection over union": self.segmentation(),
      "Pixels of objects with the right class, by what carries the object": self.attribution(),
      "Average precision": self.detection(),
    }
    return {title: rows for title, rows in found.items() if rows}

  def to_text(self) -> str:
    """All tables as plain text."""
    lines = []
    for title, rows in self.tables().items():
      width = max(map(len, rows))
      lines += [f"{title}:"]
      lines += [f"  {n.ljust(width)}  {number(e.mean)} {interval(e)}" for n, e in rows.items()]
    return "\n".join(lines)

  def to_csv(self) -> str:
    """One line per number with its interval."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "name", "value", "low", "high"))
    for title, rows in self.tables().items():
      for name, e in rows.items():
        writer.writerow((title, name, *(f"{v:.9g}" for v in (e.mean, e.low, e.high))))
    return text.getvalue()

  def to_markdown(self, title: str, notes: tuple[str, ...]) -> str:
    """All tables, with their intervals."""
    parts = []
    for name, rows in self.tables().items():
      body = [[plain(n), number(e.mean), interval(e)] for n, e in rows.items()]
      parts.append(f"## {name}\n\n" + table(["", "value", "95 % interval"], body))
    return document(title, parts, notes)


def evaluate_perception(
  config: Mapping[str, Any], weights: str | os.PathLike, split: str, output: pathlib.Path
) -> Result:
  """Scores weights on a held-out split of a config's labelled images, whole and not cropped.

  Writes scores.csv, summary.md, and pictures of the first 20 images: visible | infrared | truth |
  perceived, boxes drawn. Raises InputError for an unknown split, weights that perceive nothing, and
  those of other classes, channels or heads than the config's.
  """
  _, built = systems.configure(dict(config))
  if not isinstance(built, Config):
    raise InputError(f"config.system is {built.system!r}; allowed here: perception")
  if split not in HELD_OUT:
    raise InputError(f"--split={split}; allowed: {', '.join(HELD_OUT)}")
  perceiver = load_perceiver(weights, built)
  source = open_split(built, split)
  if not len(source):
    raise InputError(f"{source.title} has no image to be scored on")
  require_folder(output)
  result = measure(source, perceiver, built.classes, output / "pictures")
  notes = (
    f"{len(source)} images, {source.title}; intervals are those of a bootstrap over images, of one "
    "trained network.",
    "IoU is that of the sum of all images' confusion matrices; ignored pixels count nowhere.",
  )
  title = f"Perception: {label(weights)} on {split}"
  write_atomically(output / "scores.csv", result.to_csv().encode(errors="replace"))
  text = result.to_markdown(title, notes)
  write_atomically(output / "summary.md", text.encode(errors="replace"))
  return result


def load_perceiver(weights: str | os.PathLike, config: Config) -> Perceiver:
  """The network of weights, which must be one for the config's data."""
  perceiver = load_any(weights)
  if not isinstance(perceiver, Perceiver):
    raise InputError(
      f"{weights}: weights of the system {load(weights)[1].system!r}, which perceives nothing"
    )
  fields, own = config.architecture, perceiver.architecture
  for name in ("classes", "colour", "segmentation", "detection"):
    if getattr(own, name) != getattr(fields, name):
      raise InputError(
        f"{weights}: {name} of the weights is {getattr(own, name)} and of the config "
        f"{getattr(fields, name)}; allowed: the same"
      )
  return perceiver


def open_split(config: Config, split: str) -> Source:
  """The images of a split by the config's rules of values."""
  own, options = stream(config, split), config.input
  if options.normalize_over == "image":
    return normalise(own.source, options.normalize, options.normalize_over)
  return feed.normalise({"samples": stream(config, "train")}, own)[1].source


def measure(
  source: Source, perceiver: Perceiver, classes: Classes, pictures: pathlib.Path
) -> Result:
  """Scores of every image of a source; the first are drawn."""
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
    if index < PICTURES:
      pictures.mkdir(parents=True, exist_ok=True)
      write_image(pictures / f"{source.names[index]}.png", draw(sample, seen, classes))
  return Result(
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
