"""What the measurements of a study say: one finding per number, and the differences that matter."""

import math
from collections.abc import Mapping

import numpy as np

from cfi_jax.report import crossed
from cfi_jax.report.crossed import Tally
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.findings import Finding
from cfi_jax.study.shift import measure
from cfi_jax.study.shift.measure import Measured
from cfi_jax.study.shift.study import Condition, Study, conditions

ANALYSIS = "shift"

# Finding of one model, quantity, sweep and place.
Key = tuple[str, str, str, float]


def tally(study: Study, runs: list[Measured], quantity: str, condition: Condition) -> Tally:
  """One quantity under one condition, of the runs of one model, a run per seed."""
  row = conditions(study.tests).index(condition)
  column = measure.quantities(study).index(quantity)
  return Tally(
    np.stack([run.sums[row, column] for run in runs]),
    np.stack([run.counts[row, column] for run in runs]),
  )


def difference_name(quantity: str, reference: str) -> str:
  """The quantity of a finding that is a difference to the reference."""
  return f"{quantity}, minus {reference}"


def find(study: Study, measured: Mapping[str, list[Measured]]) -> list[Finding]:
  """Every quantity of every model under every condition, then its difference to the reference.

  measured: per model its runs, one per seed, in the same order for all recipes; one run for a model
  that has no seeds. samples: scenes x seeds in which something was counted.
  """
  findings = []
  for quantity in measure.quantities(study):
    for condition in conditions(study.tests):
      tallies = {m: tally(study, runs, quantity, condition) for m, runs in measured.items()}
      reference = tallies[study.reference]
      for model, own in tallies.items():
        if not own.counts.sum():
          continue
        findings.append(_finding(model, quantity, condition, crossed.estimate(own), own))
        if model != study.reference:
          difference = crossed.difference(own, reference)
          name = difference_name(quantity, study.reference)
          findings.append(_finding(model, name, condition, difference, own))
  return findings


def _finding(
  model: str, quantity: str, condition: Condition, estimate: Estimate, own: Tally
) -> Finding:
  samples = int((own.counts > 0).sum())
  return Finding(model, ANALYSIS, quantity, condition.sweep, estimate, samples, condition.x)


def index(findings: list[Finding]) -> dict[Key, Finding]:
  """Findings by model, quantity, sweep and place."""
  return {(f.model, f.quantity, f.condition, f.x): f for f in findings}


def excludes_zero(estimate: Estimate) -> bool:
  """Whether an interval of a difference leaves out 0."""
  return not math.isnan(estimate.mean) and (estimate.low > 0 or estimate.high < 0)
