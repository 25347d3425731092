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
  """What the scores say of candidates.

  within: those within the limit on every set, the best first. beside: the mean rank of each of
    these among the rules of `Study.beside`, by set. limits: the greatest allowed mean by set.
  """

  within: tuple[str, ...]
  beside: Mapping[str, Mapping[str, float]]
  limits: Mapping[str, float]


def choose(
  study: Study, candidates: Sequence[str], scores: Mapping[str, Means], clipped: Clipped
) -> Choice:
  """Ranks the candidates.

  scores: by set of `Study.score`, of these and of `Study.beside`. clipped: f(set, rule) -> share of
    the pixels.
  """
  metric = study.limit.metric
  limits = {name: own[study.limit.rule][metric] for name, own in scores.items()}
  within = [
    rule
    for rule in candidates
    if all(scores[name][rule][metric] <= limit for name, limit in limits.items())
  ]
  rivals = {name: {rule: own[rule] for rule in study.beside} for name, own in scores.items()}
  beside = {
    name: {
      rule: ranks.mean_ranks({**rivals[name], rule: own[rule]}, study.ranked_by)[rule]
      for rule in within
    }
    for name, own in scores.items()
  }

  def key(rule: str) -> tuple[float, float]:
    place = statistics.mean(own[rule] for own in beside.values())
    return place, statistics.mean(clipped(name, rule) for name in scores)

  return Choice(tuple(sorted(within, key=key)), beside, limits)


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
        number(choice.beside[name][rule]),
        f"{100 * clipped(name, rule):.3f} %",
        *_values(study, own[rule]),
      ]
      for rule in choice.within[:SHOWN]
    ]
    rows += [[rule, "-", "-", *_values(study, own[rule])] for rule in study.beside]
    metrics = [f"{metric} {arrow(metric)}" for metric in study.metrics]
    columns = ["", f"{ranks.HEADING} beside the rules", "clipped ↓", *metrics]
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
    f"where their {study.limit.metric} is not above that of {study.limit.rule} on every set. Of "
    f"these the best mean rank beside {', '.join(study.beside)} is chosen, of equal ones that "
    "which clips the fewest pixels: black or white in the fused image and in neither source. Of "
    f"several sets the means count. {ranks.describe(study.ranked_by)}"
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
