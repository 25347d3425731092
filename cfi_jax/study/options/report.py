"""The choice among the candidates, and its tables as Markdown."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence

from cfi_jax.metrics import CONVENTIONS
from cfi_jax.report import ranks
from cfi_jax.report.markdown import arrow, document, number, plain, table
from cfi_jax.study.options.settings import Study

SHOWN = 20  # candidates in a table

Clipped = Callable[[str, str], float]  # f(set, rule) -> share of the pixels
Means = Mapping[str, Mapping[str, float]]  # by rule, then metric


@dataclasses.dataclass(frozen=True)
class Choice:
  """Outcome of the ranking of candidates.

  within: those within both limits on every set, the best first. beside: the mean rank of each of
    these among the rules of `Study.beside`, by set; among: among all of these, by set. limits: the
    greatest allowed mean of the metric and share of clipped pixels, by set.
  """

  within: tuple[str, ...]
  beside: Mapping[str, Mapping[str, float]]
  among: Mapping[str, Mapping[str, float]]
  limits: Mapping[str, tuple[float, float]]


def choose(
  study: Study, candidates: Sequence[str], scores: Mapping[str, Means], clipped: Clipped
) -> Choice:
  """Ranks the candidates.

  scores: by set of `Study.score`, of these and of `Study.beside`. clipped: f(set, rule) -> share of
    the pixels.
  """
  limit = study.limit
  limits = {
    name: (own[limit.rule][limit.metric], clipped(name, limit.clipped))
    for name, own in scores.items()
  }

  def is_within(rule: str) -> bool:
    return all(
      scores[name][rule][limit.metric] <= faults and clipped(name, rule) <= share
      for name, (faults, share) in limits.items()
    )

  within = [rule for rule in candidates if is_within(rule)]
  rivals = {name: {rule: own[rule] for rule in study.beside} for name, own in scores.items()}
  beside = {
    name: {
      rule: ranks.mean_ranks({**rivals[name], rule: own[rule]}, study.ranked_by)[rule]
      for rule in within
    }
    for name, own in scores.items()
  }
  among = {
    name: ranks.mean_ranks({rule: own[rule] for rule in within}, study.ranked_by)
    for name, own in scores.items()
  }

  def key(rule: str) -> tuple[float, ...]:
    return tuple(statistics.mean(own[rule] for own in p.values()) for p in (beside, among))

  return Choice(tuple(sorted(within, key=key)), beside, among, limits)


def write_report(
  study: Study,
  candidates: Sequence[str],
  scores: Mapping[str, Means],
  clipped: Clipped,
  counts: Mapping[str, int],
) -> str:
  """The text of options.md; counts: pairs by set, the varied ones among them."""
  choice = choose(study, candidates, scores, clipped)
  parts = [_setting(study, counts), "## Choice\n\n" + _verdict(study, candidates, choice)]
  for name, own in scores.items():
    heading = f"## {plain(name)}: {counts[name]} pairs"
    rows = [
      [
        rule,
        *(number(places[name][rule]) for places in (choice.beside, choice.among)),
        f"{100 * clipped(name, rule):.3f} %",
        *_values(study, own[rule]),
      ]
      for rule in choice.within[:SHOWN]
    ]
    rows += [
      [rule, "-", "-", f"{100 * clipped(name, rule):.3f} %", *_values(study, own[rule])]
      for rule in study.beside
    ]
    metrics = [f"{metric} {arrow(metric)}" for metric in study.metrics]
    columns = ["", f"{ranks.HEADING} beside the rules", "among candidates ↓", "clipped ↓", *metrics]
    parts.append(f"{heading}\n\n{table(columns, rows)}")
  return document("Options of a rule", parts)


def _values(study: Study, means: Mapping[str, float]) -> list[str]:
  return [number(means[metric]) for metric in study.metrics]


def _setting(study: Study, counts: Mapping[str, int]) -> str:
  sets = ", ".join(f"{plain(name)} ({count})" for name, count in counts.items())
  return (
    f"Pairs held out of training: {sets}; squares of {study.crop} pixels, every pair as it is and "
    f"in {study.views} variations by other cameras (seed {study.seed}). Convention "
    f"`{study.convention}` ({CONVENTIONS[study.convention]}). Candidates are within the limit "
    f"where their {study.limit.metric} is not above that of {study.limit.rule} and they clip no "
    f"more pixels than {study.limit.clipped}, on every set; clipped are those that are black or "
    "white in the fused image and in neither source. Of these the best mean rank beside "
    f"{', '.join(study.beside)} is chosen, of equal ones the best among the candidates within the "
    f"limits; of several sets the means count. {ranks.describe(study.ranked_by)}"
  )


def _verdict(study: Study, candidates: Sequence[str], choice: Choice) -> str:
  limits = ", ".join(
    f"{plain(name)} {number(faults)} and {100 * share:.3f} %"
    for name, (faults, share) in choice.limits.items()
  )
  text = (
    f"{len(choice.within)} of {len(candidates)} candidates are within the limits on "
    f"{study.limit.metric} and clipped pixels ({limits})."
  )
  if not choice.within:
    return text + " None is chosen."
  return f"{text} Chosen: `{choice.within[0]}`."
