"""The summary of a study as Markdown."""

from collections.abc import Sequence

import numpy as np

from cfi_jax.report.markdown import interval, number, table
from cfi_jax.study.shift import measure
from cfi_jax.study.shift.results import Findings, difference_name
from cfi_jax.study.shift.settings import CORRELATION, TRIVIAL, Condition, Study, conditions

SHARE, CONTRAST = measure.SHARES[0], measure.CONTRASTS[0]  # of all objects

INTERVALS = (
  "Brackets: 95 % intervals from a bootstrap that draws seeds (outer level) and, for all of "
  "them, scenes, with replacement, which makes intervals rather too wide than too narrow; "
  "differences are paired over both. The seeds' part of an "
  "interval is widened as Student's t asks for so few of them; one seed alone has no such part, "
  "and then **bold** says nothing of other trainings. Intervals are not corrected for their "
  "number: where nothing differs, one in twenty still "
  "leaves out 0. **Bold** differences leave out 0."
)


def write_summary(
  study: Study, found: Findings, trials: Sequence[measure.Trial], seeds: Sequence[int]
) -> str:
  """The text of summary.md; seeds: those that every recipe has been trained from."""
  parts = ["# Distribution shift", _setting(study, seeds), _definitions(study, trials)]
  if study.reference in study.order:
    parts.append("## Does training help at all?\n\n" + _first_check(study, found))
  worlds = [c for c in conditions(study.tests) if c.sweep == CORRELATION]
  corrupted = [c for c in conditions(study.tests) if c.sweep != CORRELATION]
  for quantity in measure.quantities(study):
    parts += [f"## {quantity}: worlds", _section(study, found, quantity, worlds)]
  if corrupted:
    for quantity in (SHARE, CONTRAST, *measure.SHARES[1:], measure.LOSS):
      parts.append(f"## {quantity}: corruptions, correlation {study.world.correlation:+g}")
      parts.append(_section(study, found, quantity, corrupted))
  return "\n\n".join(parts) + "\n"


def _setting(study: Study, seeds: Sequence[int]) -> str:
  train = study.train
  worlds = (
    f"Tested on {study.tests.scenes} held-out scenes of {study.world.size}x{study.world.size} "
    "pixels, the same draws in every world."
  )
  if not study.order:
    return f"{worlds} Nothing was trained here.\n\n" + INTERVALS
  return (
    f"Recipes {', '.join(study.order)}, trained from seeds {', '.join(map(str, seeds))} in the "
    f"world where temperature and brightness correlate by {study.world.correlation:+g}: "
    f"{study.world.scenes} scenes of {study.world.size}x{study.world.size} pixels, {train.steps} "
    f"steps of {train.batch_size} crops of {train.input.crop}x{train.input.crop}, "
    f"{train.model['features']} channels, learning rate {train.optim.learning_rate:g} "
    f"({train.optim.schedule}); running statistics from {train.statistics.views} views. "
    f"{worlds}\n\n" + INTERVALS
  )


def _definitions(study: Study, trials: Sequence[measure.Trial]) -> str:
  options = study.tests.objects
  counts = []
  for trial in trials:
    if trial.condition.sweep == CORRELATION:
      numbers = (f"{trial.carriers[c].sum()} {c}" for c in measure.CARRIERS[1:])
      counts.append(f"{trial.condition.x:+g}: {', '.join(numbers)}")
  return (
    "- CNR: |mean of the object - mean of its ring| / standard deviation of the ring, which begins "
    f"{options.gap} and ends {options.gap + options.width} pixels from the object and leaves out "
    f"other objects. Visible: CNR of {options.threshold:g} or more.\n"
    "- Visible objects: share of the objects that at least one undisturbed source shows which the "
    "fused picture shows too (1 = all); by which sources show them: only the visible, only the "
    f"infrared, both. Objects by correlation: {'; '.join(counts)}.\n"
    f"- {measure.EITHER}: the better of the two sources as given, disturbed ones included, for "
    "each object. A picture can show more than that, where noise averages out or evidence adds "
    "up.\n"
    f"- {measure.LOSS} and metrics (strict) compare the 8-bit picture with the undisturbed pair.\n"
    f"- {', '.join(TRIVIAL)}: rules without training."
  )


def _first_check(study: Study, found: Findings) -> str:
  """Whether the reference, so trained, beats the pixel average in its own world."""
  lines = []
  for quantity, better in ((measure.LOSS, "lower"), (SHARE, "higher"), (CONTRAST, "higher")):
    place = (CORRELATION, study.world.correlation)
    key = ("average", difference_name(quantity, study.reference), *place)
    if key not in found:
      return "The training world is not among the worlds tested on."
    mine, average, difference = (
      found[k].estimate
      for k in ((study.reference, quantity, *place), ("average", quantity, *place), key)
    )
    verdict = "cannot be told from"
    if difference.excludes_zero:
      verdict = "beats" if (difference.low > 0) == (better == "lower") else "is worse than"
    lines.append(
      f"- {quantity} ({better} is better): {study.reference} {number(mine.mean)}, average "
      f"{number(average.mean)}; average minus {study.reference} {number(difference.mean)} "
      f"{interval(difference)}. {study.reference} {verdict} the average."
    )
  return "\n".join(lines)


def _section(study: Study, found: Findings, quantity: str, columns: Sequence[Condition]) -> str:
  """Values, then differences to the reference, under some conditions."""
  difference = difference_name(quantity, study.reference)
  values, differences = _table(found, quantity, columns), _table(found, difference, columns, True)
  return f"{values}\n\nMinus {study.reference}:\n\n{differences}"


def _table(found: Findings, quantity: str, columns: Sequence[Condition], bold: bool = False) -> str:
  """One row per condition, one column per model that has the quantity, so that many fit."""

  def cell(model: str, condition: Condition) -> str:
    finding = found.get((model, quantity, condition.sweep, condition.x))
    if finding is None or np.isnan(finding.estimate.mean):
      return "-"
    text = f"{number(finding.estimate.mean)} {interval(finding.estimate)}"
    return f"**{text}**" if bold and finding.estimate.excludes_zero else text

  models = dict.fromkeys(model for model, *_ in found)
  kept = [m for m in models if any(cell(m, c) != "-" for c in columns)]
  return table(["", *kept], ([c.name, *(cell(m, c) for m in kept)] for c in columns))
