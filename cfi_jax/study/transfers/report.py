"""The tables and sentences of a study of pose transfer."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cfi_jax.report import crossed
from cfi_jax.report.crossed import Tally
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.study.transfers.settings import Study
from cfi_jax.systems.dfcnet import judges
from cfi_jax.systems.dfcnet.scores import DIRECTIONS
from cfi_jax.systems.files import label

VALUE, DIFFERENCE = "mean", "difference to the reference"  # quantities of findings
ARROWS = {"higher": "↑", "lower": "↓"}

# Findings by split, method, score, and whether `VALUE` or `DIFFERENCE`.
Findings = Mapping[tuple[str, str, str, str], Finding]


def find(study: Study, measured: Mapping[str, Mapping[str, Mapping[str, Tally]]]) -> Findings:
  """Every score of every method, and its paired difference to the reference.

  measured: tallies [seeds, transfers] by split, method and score.
  """
  found = {}
  for split, by_method in measured.items():
    for method, tallies in by_method.items():
      for score, own in tallies.items():
        estimates = {VALUE: crossed.estimate(own)}
        if method != study.reference:
          estimates[DIFFERENCE] = _difference(own, by_method[study.reference][score])
        for condition, estimate in estimates.items():
          found[split, method, score, condition] = Finding(
            method, split, score, condition, estimate, int(own.counts.sum())
          )
  return found


def _difference(own: Tally, reference: Tally) -> crossed.Estimate:
  """The paired difference; the reference, which is not trained, is the same for every seed."""
  whole = [np.broadcast_to(x, own.sums.shape) for x in (reference.sums, reference.counts)]
  counts = own.counts * whole[1]
  return crossed.difference(Tally(own.sums * counts, counts), Tally(whole[0] * counts, counts))


def write_summary(study: Study, found: Findings, splits: Sequence[str]) -> str:
  """The text of summary.md; splits: those that every method is scored on."""
  weights = "; ".join(
    f"{plain(name)}: {', '.join(f'`{label(path)}`' for path in own)}"
    for name, own in study.methods.items()
  )
  setting = (
    f"Transfers between people of {study.dataset.title} (seed {study.dataset.seed}, "
    f"{study.dataset.size} pixels) with their exact keypoints; scores are defined in "
    f"docs/dfcnet.md. Keypoints of all pictures are read by {_judge(study)}; its own error "
    'stands in the row "truth". Weights by training seed: '
    f"{weights or 'none'}.\n\n"
    "Brackets: 95 % intervals from a bootstrap that draws transfers and, where a method was "
    "trained from several seeds, seeds, with replacement; the seeds' part is widened as Student's "
    "t asks for so few; one seed alone has no such part. Differences are paired. **Bold** "
    "differences leave out 0. Intervals are not corrected for their number."
  )
  parts = [setting]
  for split in splits:
    sentences = "\n".join(f"- {line}" for line in findings(study, found, split))
    parts += [
      f"## {plain(split)}: {study.dataset.count(split)} transfers",
      *([sentences] if sentences else []),
      _table(found, split, VALUE),
      f"Minus {plain(study.reference)}:\n\n{_table(found, split, DIFFERENCE)}",
    ]
  return document("Pose transfer beside trivial transfers", parts)


def _judge(study: Study) -> str:
  """Words for the judge, which reads the keypoints."""
  if judges.is_blazepose(study.judge):
    return f"BlazePose (`{pathlib.Path(study.judge).name}`), which no training has seen"
  return f"the estimator of `{label(study.judge)}`, which a training of these weights has seen, too"


def findings(study: Study, found: Findings, split: str) -> Iterator[str]:
  """One sentence per method and bar: the gain over the reference, and whether it is enough."""
  for method in study.methods:
    for score in (name for name in DIRECTIONS if name in study.bars):
      bar = study.bars[score]
      estimate = found[split, method, score, DIFFERENCE].estimate
      sign = 1 if DIRECTIONS[score] == "higher" else -1
      gain = f"{number(sign * estimate.mean)}"
      ends = sorted((sign * estimate.low, sign * estimate.high))
      reached = "reached" if sign * estimate.mean >= bar else "not reached"
      yield (
        f"{plain(method)} gains {gain} [{number(ends[0])}, {number(ends[1])}] over "
        f"{plain(study.reference)} in {score} ({DIRECTIONS[score]} is better); asked for is "
        f"{number(bar)}: {reached}."
      )


def _table(found: Findings, split: str, condition: str) -> str:
  """One row per method, one column per score."""
  methods = dict.fromkeys(m for s, m, _, c in found if (s, c) == (split, condition))

  def cell(method: str, score: str) -> str:
    estimate = found[split, method, score, condition].estimate
    text = f"{number(estimate.mean)} {interval(estimate)}"
    return f"**{text}**" if condition == DIFFERENCE and estimate.excludes_zero else text

  header = ["", *(f"{score} {ARROWS[way]}" for score, way in DIRECTIONS.items())]
  return table(header, ([plain(m), *(cell(m, score) for score in DIRECTIONS)] for m in methods))
