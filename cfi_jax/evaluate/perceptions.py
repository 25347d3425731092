"""Scores of a trained network of perception on a held-out split of labelled images."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax import systems
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.images.write import write_image
from cfi_jax.metrics import detection, segmentation
from cfi_jax.report import estimates, resampling
from cfi_jax.report.estimates import Estimate, percentiles
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.systems.files import label, load, load_any
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.inference import Perceiver, Seen
from cfi_jax.systems.perception.samples import Labelled
from cfi_jax.systems.perception.scores import Measured, draw, measure, open_split

HELD_OUT = ("test", "validation")
PICTURES = 20
RESAMPLES, RESAMPLES_OF_BOXES = 2000, 200


@dataclasses.dataclass(frozen=True)
class Result(Measured):
  """Scores of N images."""

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
    weights = resampling.draws(len(self.names), RESAMPLES_OF_BOXES, 0)
    found, *drawn = np.stack([detection.weighted_precision(m, weights) for m in matches], 1)
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
  require_folder(output)

  def show(index: int, sample: Labelled, seen: Seen) -> None:
    if index < PICTURES:
      path = output / "pictures" / f"{source.names[index]}.png"
      write_image(path, draw(sample, seen, built.classes))

  result = Result(**vars(measure(source, perceiver, built.classes, show)))
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
  if own.fusion != fields.fusion and "fused" in (own.fusion, fields.fusion):
    raise InputError(
      f"{weights}: model.fusion of the weights is {own.fusion!r} and of the config "
      f"{fields.fusion!r}; allowed: 'fused' of both or of none"
    )
  for name in ("classes", "colour", "segmentation", "detection"):
    if getattr(own, name) != getattr(fields, name):
      raise InputError(
        f"{weights}: {name} of the weights is {getattr(own, name)} and of the config "
        f"{getattr(fields, name)}; allowed: the same"
      )
  return perceiver
