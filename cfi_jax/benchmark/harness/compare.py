"""Contenders side by side: first equal, then timed, then their memory; and the rows of a report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import jax
import numpy as np

from cfi_jax.benchmark.harness import timing
from cfi_jax.benchmark.harness.contenders import ContenderError, Process
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.results import Floor, Report, Row
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.benchmark.harness.worker import Local

Output = dict[str, np.ndarray]
FACTS = ("peak_mb", "growth_mb", "device_peak_mb", "program_mb", "compile_seconds")


class UnequalError(Exception):
  """Two contenders do not compute the same."""


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The result of a contender: seconds of its turns and its facts, or why it failed."""

  spec: Spec
  difference: float | None = None
  seconds: tuple[float, ...] = ()
  facts: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
  failure: str | None = None


def is_sequential(options: SimpleNamespace) -> bool:
  """--sequential: usual on accelerators, where several would not fit into the memory at once."""
  return jax.default_backend() != "cpu" if options.sequential is None else options.sequential


def compare(
  specs: Sequence[Spec],
  options: SimpleNamespace,
  differ: Callable[[Output, Output], float],
  tolerance: Callable[[Spec, Spec], float],
) -> list[Outcome]:
  """Runs all contenders; raises `UnequalError` where one differs from the first by too much.

  differ: how far an output (the second) is from a reference (the first).
  """
  make = Local if options.in_process else Process
  groups = [[spec] for spec in specs] if is_sequential(options) else [list(specs)]
  outcomes: list[Outcome] = []
  first: tuple[Spec, Output] | None = None
  for group in groups:
    players: dict[str, Local | Process] = {}
    try:
      for spec in group:
        try:
          players[spec.name] = make(spec)
          output = players[spec.name].output()
          first = first or (spec, output)
          difference = differ(first[1], output)
          players[spec.name].warm()
        except ContenderError as error:
          outcomes.append(Outcome(spec, failure=str(error)))
          if spec.name in players:
            players.pop(spec.name).close()
          continue
        limit = tolerance(first[0], spec)
        if not difference <= limit:
          raise UnequalError(
            f"{spec.name} differs from {first[0].name} by {difference:.2e}; allowed: {limit:.0e}"
          )
        outcomes.append(Outcome(spec, difference))
      measures = {name: player.seconds for name, player in players.items()}
      seconds = timing.take_turns(measures, options.turns)
      facts = {name: player.facts() for name, player in players.items()}
    finally:
      for player in players.values():
        player.close()
    outcomes = [_finish(outcome, seconds, facts) for outcome in outcomes]
  return outcomes


def _finish(outcome: Outcome, seconds: Mapping, facts: Mapping) -> Outcome:
  name = outcome.spec.name
  if name not in seconds or outcome.failure:
    return outcome
  return dataclasses.replace(outcome, seconds=tuple(seconds[name]), facts=facts[name])


def report(
  outcomes: Sequence[Outcome],
  options: SimpleNamespace,
  case: dict,
  samples: float,
  floor: Floor,
  notes: Sequence[str],
) -> Report:
  """The report of a comparison, with the repeats and the order added to its case."""
  case |= {
    "repeats": {o.spec.name: o.facts.get("repeats") for o in outcomes},
    "order": "one after the other" if is_sequential(options) else "turn by turn",
  }
  found = rows(outcomes, options, samples, floor.seconds)
  return Report(outcomes[0].spec.task, case, found, floor, tuple(notes))


def rows(
  outcomes: Sequence[Outcome],
  options: SimpleNamespace,
  samples: float,
  floor_seconds: float,
) -> tuple[Row, ...]:
  """A row per contender; the first that ran is the reference of the speed-ups."""
  reference = next((o.seconds for o in outcomes if o.seconds), ())
  found = []
  for outcome in outcomes:
    dtype = outcome.spec.dtype
    if outcome.failure:
      found.append(Row(outcome.spec.name, dtype, samples, failure=outcome.failure))
      continue
    facts = outcome.facts
    cost = None if facts["flops"] is None else Cost(facts["flops"], facts["bytes"])
    found.append(
      Row(
        name=outcome.spec.name,
        dtype=dtype,
        samples=samples,
        seconds=timing.spread(outcome.seconds),
        speedup=timing.speedup(reference, outcome.seconds, not is_sequential(options)),
        cost=cost,
        floor_seconds=floor_seconds,
        difference=outcome.difference,
        **{name: facts[name] for name in FACTS},
      )
    )
  return tuple(found)
