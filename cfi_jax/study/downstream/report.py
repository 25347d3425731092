"""The tables and sentences of a study of downstream tasks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.datasets.world.scenes import INFRARED, VISIBLE
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.report import crossed
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.study.downstream.measure import (
  AP,
  AP50,
  CARRIED,
  IOU,
  MIOU,
  PER_IMAGE,
  RESAMPLES,
  WHOLE,
  Kept,
  Score,
)
from cfi_jax.study.downstream.settings import BOTH, Study
from cfi_jax.systems.files import label
from cfi_jax.systems.perception.scores import CARRIERS

HEAD = (MIOU, PER_IMAGE, AP50, AP)
JUDGED = (MIOU, AP)  # in sentences
VALUE = "value"
MINUS = {name: f"minus {name}" for name in MODALITIES}

# Findings by row, score, and whether `VALUE` or one of `MINUS`.
Findings = Mapping[tuple[str, Score, str], Finding]


def find(
  study: Study, measured: Mapping[str, Sequence[Mapping[Score, np.ndarray]]]
) -> dict[tuple[str, Score, str], Finding]:
  """Every score of every row, and its paired differences to the rows of one image.

  measured: by row the scores of each seed, see `measure.Kept`.
  """
  found = {}
  for row, seeds in measured.items():
    for score in seeds[0]:
      values = _stack(seeds, score)
      estimates = {VALUE: crossed.combine(values)}
      for name in MODALITIES:
        if name in measured and name != row:
          estimates[MINUS[name]] = crossed.combine(values - _stack(measured[name], score))
      for kind, estimate in estimates.items():
        quantity, condition = score
        finding = Finding(row, kind, quantity, condition, estimate, len(seeds))
        found[row, score, kind] = finding
  return found


def _stack(seeds: Sequence[Mapping[Score, np.ndarray]], score: Score) -> np.ndarray:
  """A score [seeds, 1 + RESAMPLES]; NaN of a seed that lacks it."""
  missing = np.full(1 + RESAMPLES, np.nan)
  return np.stack([own.get(score, missing) for own in seeds])


def scores(found: Findings, quantity: str) -> list[Score]:
  """The scores of a quantity, in their order."""
  return list(dict.fromkeys(score for _, score, _ in found if score[0] == quantity))


def better(found: Findings, score: Score) -> str | None:
  """The row of one image with the higher score; None where one of them is missing."""
  if any((name, score, VALUE) not in found for name in MODALITIES):
    return None
  return max(MODALITIES, key=lambda name: found[name, score, VALUE].estimate.mean)


def gain(found: Findings, row: str, score: Score) -> Estimate | None:
  """The difference of a row to the better single image; None of this image itself."""
  name = better(found, score)
  return None if name in (None, row) else found[row, score, MINUS[name]].estimate


def describe(study: Study, seeds: Sequence[int], kept: Mapping[str, Sequence[Kept]]) -> str:
  """A paragraph on what was trained and scored; seeds: those of which all rows are."""
  probe, one = study.probe, next(iter(kept.values()))[0]
  length = f"{probe.steps} steps" if probe.steps else f"{probe.epochs:g} epochs"
  fused = "; ".join(
    f"{plain(row)}: `{plain(label(study.fused[row]))}`" for row in study.order if row in study.fused
  )
  given = {
    "each image alone": any(row in MODALITIES for row in study.order),
    f"both (fused `{study.both}`)": BOTH in study.order,
    "images fused before": bool(fused),
  }
  pixels = ", ".join(f"{count} carried by {name}" for name, count in one.pixels.items())
  return (
    f"One network (width {probe.model.width}) was trained from seed{'s' * (len(seeds) > 1)} "
    f"{', '.join(map(str, seeds))}, {length} of {probe.batch_size} crops of "
    f"{probe.input.crop}x{probe.input.crop} each, on "
    + ", on ".join(name for name, there in given.items() if there)
    + "; nothing is chosen by a score, the last step counts. Scored are "
    f"{one.images} images of the split {study.split}."
    + (f" Fused: {fused}." if fused else "")
    + (f" Pixels of objects: {pixels}." if pixels else "")
    + "\n\nIoU is that of the sum of all images' confusion matrices; beside it the average of the "
    "images' own. AP is that of COCO. Brackets: 95 % intervals from a bootstrap that draws seeds "
    f"and, for all of them, images, with replacement ({RESAMPLES} times); a seed's resamples are "
    "moved so that their median is its score, and the seeds' part is widened as Student's t asks "
    "for so few; one seed alone has no such part. Differences are paired over both. The better "
    "single image is the one with the higher score in these tables. "
    "Intervals are not corrected for their number."
  )


def write_summary(study: Study, found: Findings, about: str) -> str:
  """The text of summary.md; about: see `describe`."""
  sentences = "\n".join(f"- {plain(line)}" for line in findings(study, found))
  parts = [f"{about} **Bold** differences leave out 0.", f"## Findings\n\n{sentences}"]
  parts += [f"## {title}\n\n{_markdown(*rows)}" for title, rows in tables(study, found).items()]
  return document("Downstream tasks", parts)


Rows = tuple[list[str], list[tuple[str, list[Estimate | None]]]]


def tables(study: Study, found: Findings) -> dict[str, Rows]:
  """By title the headings and, by row of the study, the estimates of a table; None for nothing.

  Differences are those whose title says "minus".
  """
  head = [s for s in ((name, WHOLE) for name in HEAD) if (study.order[0], s, VALUE) in found]

  def values(columns: Sequence[Score], names: Sequence[str]) -> Rows:
    lines = [(row, [_value(found, row, s) for s in columns]) for row in study.order]
    return list(names), lines

  result = {"Scores": values(head, [name for name, _ in head])}
  if all(better(found, score) for score in head):
    names = [f"{score[0]}, minus {better(found, score)}" for score in head]
    lines = [(row, [gain(found, row, s) for s in head]) for row in study.order]
    result["Scores, minus the better single image"] = names, lines
  for quantity, title in (
    (IOU, "IoU of the classes"),
    (AP50, "AP50 of the classes"),
    (CARRIED, "Pixels of objects with the right class, by what carries the object"),
  ):
    columns = [score for score in scores(found, quantity) if score[1] != WHOLE]
    if columns:
      result[title] = values(columns, [condition for _, condition in columns])
  return result


def _value(found: Findings, row: str, score: Score) -> Estimate | None:
  finding = found.get((row, score, VALUE))
  return None if finding is None else finding.estimate


def _markdown(names: Sequence[str], lines: Sequence[tuple[str, list[Estimate | None]]]) -> str:
  differences = any("minus" in name for name in names)

  def cell(estimate: Estimate | None) -> str:
    if estimate is None:
      return ""
    text = f"{number(estimate.mean)} {interval(estimate)}"
    return f"**{text}**" if differences and estimate.excludes_zero else text

  rows = ([plain(row), *map(cell, own)] for row, own in lines)
  return table(["", *map(plain, names)], rows)


def findings(study: Study, found: Findings) -> Iterator[str]:
  """Sentences: objects that one image alone shows, then every row beside the better image."""
  for value, other in ((INFRARED, MODALITIES[0]), (VISIBLE, MODALITIES[1])):
    score = (CARRIED, CARRIERS[value])
    finding = found.get((BOTH, score, MINUS[other]))
    if finding is not None:
      yield (
        f"On objects that {CARRIERS[value]} carries, {BOTH} is {_compare(finding.estimate)} "
        f"{other} in the share of pixels with the right class."
      )
  for row in study.order:
    if row in MODALITIES:
      continue
    said = []
    for name in JUDGED:
      estimate = gain(found, row, (name, WHOLE)) if (row, (name, WHOLE), VALUE) in found else None
      if estimate is not None:
        said.append(f"{_compare(estimate)} {better(found, (name, WHOLE))} in {name}")
    if said:
      yield f"{row} is {', and '.join(said)}."


def _compare(estimate: Estimate) -> str:
  numbers = f"{number(abs(estimate.mean))} {interval(estimate)}"
  if not estimate.excludes_zero:
    return f"not told from chance ({number(estimate.mean)} {interval(estimate)}) beside"
  return f"{numbers} {'ahead of' if estimate.mean > 0 else 'behind'}"
