"""Findings of a study of shift: one per number, and the differences to the reference."""

from collections.abc import Mapping, Sequence

import numpy as np

from cfi_jax.report import crossed
from cfi_jax.report.crossed import Tally
from cfi_jax.report.findings import Finding
from cfi_jax.study.shift import measure
from cfi_jax.study.shift.measure import Measured
from cfi_jax.study.shift.settings import Condition, Study, conditions

# Findings by model, quantity, sweep and place on it.
Findings = Mapping[tuple[str, str, str, float], Finding]


def tally(study: Study, runs: Sequence[Measured], quantity: str, condition: Condition) -> Tally:
  """The tally of a quantity under a condition; runs: of one model, a run per seed."""
  place = conditions(study.tests).index(condition), measure.quantities(study).index(quantity)
  return Tally(*(np.stack([values[place] for values in part]) for part in zip(*runs, strict=True)))


def difference_name(quantity: str, reference: str) -> str:
  """The quantity of a finding that is a difference to the reference."""
  return f"{quantity}, minus {reference}"


def find(study: Study, measured: Mapping[str, Sequence[Measured]]) -> Findings:
  """Every quantity of every model under every condition, then its difference to the reference.

  measured: per model its runs, one per seed, in the same order for all recipes; one run for a model
  that has no seeds. samples: scenes x seeds in which something was counted.
  """
  findings = {}
  for quantity in measure.quantities(study):
    for condition in conditions(study.tests):
      tallies = {m: tally(study, runs, quantity, condition) for m, runs in measured.items()}
      for model, own in tallies.items():
        if not own.counts.sum():
          continue
        found = {quantity: crossed.estimate(own)}
        if model != study.reference:
          name = difference_name(quantity, study.reference)
          found[name] = crossed.difference(own, tallies[study.reference])
        samples = int((own.counts > 0).sum())
        for name, estimate in found.items():
          findings[model, name, condition.sweep, condition.x] = Finding(
            model, "shift", name, condition.sweep, estimate, samples, condition.x
          )
  return findings
