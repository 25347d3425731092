"""The tables and sentences of a study of ablations."""

from collections.abc import Mapping, Sequence

from cfi_jax.report import crossed
from cfi_jax.report.crossed import Tally
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import document, interval, number, plain, table
from cfi_jax.study.ablations.settings import Study
from cfi_jax.study.rows import describe

VALUE, DIFFERENCE = "mean", "difference to the reference"  # conditions of findings

# Findings by row, score, and whether `VALUE` or `DIFFERENCE`.
Findings = Mapping[tuple[str, str, str], Finding]


def find(study: Study, measured: Mapping[str, Mapping[str, Tally]]) -> Findings:
  """Every score of every row, and its paired difference to the reference.

  measured: tallies [seeds, samples] by row and score.
  """
  found = {}
  for score in study.scores:
    reference = measured[study.reference][score]
    for row, tallies in measured.items():
      estimates = {VALUE: crossed.estimate(tallies[score])}
      if row != study.reference:
        both = tallies[score].counts * reference.counts
        pair = (Tally(each.sums * both, both) for each in (tallies[score], reference))
        estimates[DIFFERENCE] = crossed.difference(*pair)
      samples = int(tallies[score].counts.sum())
      for condition, estimate in estimates.items():
        found[row, score, condition] = Finding(
          row, "ablations", score, condition, estimate, samples
        )
  return found


def write_summary(study: Study, found: Findings, seeds: Sequence[int]) -> str:
  """The text of summary.md; seeds: those that every row has been trained from."""
  steps = {row: study.rows[row].steps for row in study.order}
  setting = (
    f"Rows trained from seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, "
    f"{_lengths(steps)}. Scored are held-out samples at the last step, by each system's own "
    "validation.\n\n"
    f"{describe(study)}\n\n"
    "Brackets: 95 % intervals from a bootstrap that draws seeds and, for all of them, samples, "
    "with replacement; the seeds' part is widened as Student's t asks for so few; one seed alone "
    "has no such part. Differences are paired over both. **Bold** differences leave out 0. "
    "Intervals are not corrected for their number: where nothing differs, one in twenty still "
    "leaves out 0."
  )
  sentences = "\n".join(f"- {line}" for line in findings(study, found))
  parts = [
    setting,
    f"## Findings\n\n{sentences}",
    f"## Scores\n\n{_table(study, found, VALUE)}",
    f"## Minus {plain(study.reference)}\n\n{_table(study, found, DIFFERENCE)}",
  ]
  return document("Ablations", parts)


def _lengths(steps: Mapping[str, int]) -> str:
  if len(set(steps.values())) == 1:
    return f"{next(iter(steps.values())) or 'their epochs of'} steps each"
  return ", ".join(f"{row} {count} steps" for row, count in steps.items())


def findings(study: Study, found: Findings) -> list[str]:
  """One sentence per row: the scores that differ from the reference by more than chance."""
  lines = []
  for row in study.order:
    if row == study.reference:
      continue
    kinds: dict[str, list[str]] = {"better": [], "worse": []}
    for score in study.scores:
      estimate = found[row, score, DIFFERENCE].estimate
      if estimate.excludes_zero:
        better = (estimate.mean > 0) == (study.direction(score) == "higher")
        text = f"{score} ({number(estimate.mean)} {interval(estimate)})"
        kinds["better" if better else "worse"].append(text)
    said = [f"{kind} in {', '.join(texts)}" for kind, texts in kinds.items() if texts]
    chance = f"differs from {plain(study.reference)} in no score by more than chance"
    verdict = f"is {' and '.join(said)} than {plain(study.reference)}" if said else chance
    lines.append(f"{plain(row)} {verdict}.")
  return lines


def _table(study: Study, found: Findings, condition: str) -> str:
  """One row per row of the study, one column per score."""

  def cell(row: str, score: str) -> str:
    estimate = found[row, score, condition].estimate
    text = f"{number(estimate.mean)} {interval(estimate)}"
    return f"**{text}**" if condition == DIFFERENCE and estimate.excludes_zero else text

  arrows = {"higher": "↑", "lower": "↓"}
  header = ["", *(f"{score} {arrows[study.direction(score)]}" for score in study.scores)]
  rows = [row for row in study.order if (row, study.scores[0], condition) in found]
  return table(header, ([plain(row), *(cell(row, s) for s in study.scores)] for row in rows))
