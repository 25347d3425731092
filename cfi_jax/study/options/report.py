"""The choice among the candidates, and its tables as Markdown."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from cfi_jax.metrics import CONVENTIONS
from cfi_jax.report import ranks
from cfi_jax.report.markdown import arrow, document, number, plain, table
from cfi_jax.study.options.settings import Study

SHOWN = 20  # candidates in a table

Means = Mapping[str, Mapping[str, float]]  # by rule, then metric


@dataclasses.dataclass(frozen=True)
class Choice:
  """What the scores say of candidates.

  within: those within the limit on every set, the best first. mean_ranks: of these, by set. limits:
    the greatest allowed mean by set.
  """

  within: tuple[str, ...]
  mean_ranks: Mapping[str, Mapping[str, float]]
  limits: Mapping[str, float]


def choose(study: Study, candidates: Sequence[str], scores: Mapping[str, Means]) -> Choice:
  """Ranks the candidates; scores: by set of `Study.score`, of these and of `Study.beside`."""
  metric = study.limit.metric
  limits = {name: own[study.limit.rule][metric] for name, own in scores.items()}
  within = [
    rule
    for rule in candidates
    if all(scores[name][rule][metric] <= limit for name, limit in limits.items())
  ]
  places = {
    name: ranks.mean_ranks({rule: own[rule] for rule in within}, study.ranked_by)
    for name, own in scores.items()
  }
  within.sort(key=lambda rule: statistics.mean(places[name][rule] for name in scores))
  return Choice(tuple(within), places, limits)


def write_report(
  study: Study, candidates: Sequence[str], scores: Mapping[str, Means], counts: Mapping[str, int]
) -> str:
  """The text of options.md; counts: pairs by set, the varied ones among them."""
  choice = choose(study, candidates, scores)
  parts = [_setting(study, counts), "## Choice\n\n" + _verdict(study, candidates, choice)]
  for name, own in scores.items():
    heading = f"## {plain(name)}: {counts[name]} pairs"
    rows = [
      [rule, number(choice.mean_ranks[name][rule]), *_values(study, own[rule])]
      for rule in choice.within[:SHOWN]
    ]
    rows += [[rule, "-", *_values(study, own[rule])] for rule in study.beside]
    metrics = [f"{metric} {arrow(metric)}" for metric in study.metrics]
    parts.append(f"{heading}\n\n{table(['', ranks.HEADING, *metrics], rows)}")
  return document("Options of a rule", parts)


def _values(study: Study, means: Mapping[str, float]) -> list[str]:
  return [number(means[metric]) for metric in study.metrics]


def _setting(study: Study, counts: Mapping[str, int]) -> str:
  sets = ", ".join(f"{plain(name)} ({count})" for name, count in counts.items())
  return (
    f"Pairs held out of training: {sets}; squares of {study.crop} pixels, every pair as it is and "
    f"in {study.views} variations by other cameras (seed {study.seed}). Convention "
    f"`{study.convention}` ({CONVENTIONS[study.convention]}). Candidates are within the limit "
    f"where their {study.limit.metric} is not above that of {study.limit.rule} on every set; among "
    f"these the best mean rank is chosen, of several sets the best mean of them. "
    f"{ranks.describe(study.ranked_by)} Rules without a rank are shown beside them."
  )


def _verdict(study: Study, candidates: Sequence[str], choice: Choice) -> str:
  limits = ", ".join(f"{plain(n)} {number(limit)}" for n, limit in choice.limits.items())
  text = (
    f"{len(choice.within)} of {len(candidates)} candidates are within the limit on "
    f"{study.limit.metric} ({limits})."
  )
  if not choice.within:
    return text + " None is chosen."
  return f"{text} Chosen: `{choice.within[0]}`."
