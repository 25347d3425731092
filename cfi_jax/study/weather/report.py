"""The tables and sentences of a study of weather as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from cfi_jax.metrics import CONVENTIONS, METRICS
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.markdown import arrow, document, interval, number, plain, table
from cfi_jax.study.weather.methods import Methods
from cfi_jax.study.weather.rows import FUSED, RESTORED, Row
from cfi_jax.study.weather.settings import Study
from cfi_jax.systems import restoring
from cfi_jax.systems.files import label

SHARE, SHARE_AT = 1 / 3, ("medium", "heavy")  # of the distance, asked for at these levels


def write_report(methods: Methods, rows: Sequence[Row], seeds: Sequence[int]) -> str:
  """The text of weather.md; seeds: those that every cell is scored of."""
  study = methods.study
  parts = [_setting(methods, rows, seeds), "## Findings\n\n" + "\n".join(findings(study, rows))]
  for test in study.score:
    own = [row for row in rows if row.test == test]
    parts.append(f"## {plain(test)}: {own[0].images} pairs")
    for name in study.judged:
      caption = f"{plain(name)}, minus {plain(study.reference)}; the share of the distance closed:"
      parts.append(f"{caption}\n\n{_compare(study, own, name)}")
    for metric in study.metrics:
      chosen = [row for row in own if row.of == FUSED and row.metric == metric]
      parts.append(f"{metric} {arrow(metric)} of fused images:\n\n{_values(chosen)}")
    for metric in restoring.METRICS if methods.restorers else ():
      chosen = [row for row in own if row.of == RESTORED and row.metric == metric]
      parts.append(f"{metric} {arrow(metric)} of restored visible images:\n\n{_values(chosen)}")
  return document("Fusion under weather", parts)


def _setting(methods: Methods, rows: Sequence[Row], seeds: Sequence[int]) -> str:
  study = methods.study
  counted = {row.test: row.images for row in rows}
  sets = ", ".join(f"{plain(test)} ({counted[test]} pairs)" for test in study.score)
  files = "; ".join(
    f"{plain(name)}: `{label(path)}` (SHA-256 {methods.digests[name]})"
    for name, path in study.methods.items()
  )
  return (
    f"Weather was made on {sets} from seed{'s' * (len(seeds) > 1)} "
    f"{', '.join(map(str, seeds))}, thermal model `{study.thermal}` (docs/weather.md). Fused "
    f"images are compared with the clean pair, convention `{study.convention}` "
    f"({CONVENTIONS[study.convention]}), restored visible images with the clean one, `strict`. "
    f"{plain(study.bound)}: {plain(study.reference)} on the clean pair, an upper bound. The share "
    "of the distance that a method closes is 0 % at the reference and 100 % at the bound; a dash "
    "where the bound is not ahead by more than chance.\n\n"
    "Brackets: 95 % intervals from a bootstrap that draws seeds of weather and, for all of them, "
    "images, with replacement; the seeds' part is widened as Student's t asks for so few, which "
    "makes intervals rather too wide; from one seed there is no such part. Differences are paired "
    "over both. **Bold** differences leave out 0. Intervals are not corrected for their number.\n\n"
    f"Methods: {files}."
  )


def findings(study: Study, rows: Sequence[Row]) -> list[str]:
  """Sentences on every judged method: where it is ahead, and where it closes `SHARE`."""
  lines = []
  for name in study.judged:
    for metric in study.metrics:
      own = [row for row in rows if (row.of, row.method, row.metric) == (FUSED, name, metric)]
      lines += [
        f"- {sentence}"
        for sentence in (
          _ahead(own, f"{plain(name)} is ahead of {plain(study.reference)} in {metric}"),
          _closes(own, f"{plain(name)} closes a third of the distance or more in {metric}"),
        )
        if sentence
      ]
  restored = [row for row in rows if row.of == RESTORED and row.difference is not None]
  for name, metric in dict.fromkeys((row.method, row.metric) for row in restored):
    own = [row for row in restored if (row.method, row.metric) == (name, metric)]
    claim = f"What {plain(name)} restores is ahead of the degraded visible image in {metric}"
    lines.append(f"- {_ahead(own, claim)}")
  return lines


def _ahead(rows: Sequence[Row], claim: str) -> str:
  """The claim, in how many places it holds, and where not; "" where nothing is compared."""
  rows = [row for row in rows if row.difference is not None]
  if not rows:
    return ""
  sign = 1 if METRICS[rows[0].metric].direction == "higher" else -1
  ahead = [row for row in rows if sign * row.difference.mean > 0]
  sure = [row for row in ahead if row.difference.excludes_zero]
  text = f"{claim} in {len(ahead)} of {len(rows)} places, in {len(sure)} by more than chance"
  return _end(text, "not in", ((row, row.difference) for row in rows if row not in ahead))


def _closes(rows: Sequence[Row], claim: str) -> str:
  """The same of the share at the levels `SHARE_AT`, where there is a distance."""
  rows = [row for row in rows if row.level in SHARE_AT]
  found = [row for row in rows if row.closed is not None]
  if not rows:
    return ""
  enough = [row for row in found if row.closed.mean >= SHARE]
  sure = [row for row in enough if row.closed.low >= SHARE]
  levels = " and ".join(level for level in SHARE_AT if any(row.level == level for row in rows))
  text = (
    f"{claim} in {len(enough)} of {len(found)} places of {levels} weather, in {len(sure)} by more "
    "than chance"
  )
  if len(found) < len(rows):
    text += f" ({len(rows) - len(found)} more have no distance to close)"
  return _end(text, "less in", ((row, row.closed) for row in found if row not in enough))


def _end(text: str, where: str, others: Iterable[tuple[Row, Estimate]]) -> str:
  """The sentence with the places that are otherwise."""
  listed = [
    f"{plain(' '.join(row.place))} ({number(estimate.mean)} {interval(estimate)})"
    for row, estimate in others
  ]
  return f"{text}; {where} {', '.join(listed)}." if listed else f"{text}."


def _compare(study: Study, rows: Sequence[Row], name: str) -> str:
  """Differences of one method and shares, a row per weather and a column per metric."""

  def lines() -> Iterator[list[str]]:
    for place in dict.fromkeys(row.place for row in rows):
      own = {
        row.metric: row for row in rows if (row.of, row.place, row.method) == (FUSED, place, name)
      }
      yield [_weather(place), *(_gain(own[metric]) for metric in study.metrics)]

  return table(["", *(f"{metric} {arrow(metric)}" for metric in study.metrics)], lines())


def _gain(row: Row) -> str:
  if row.difference is None:
    return "-"
  share = "-" if row.closed is None else f"{100 * row.closed.mean:.0f} %"
  if row.closed is not None:
    share += f" [{100 * row.closed.low:.0f}, {100 * row.closed.high:.0f}]"
  return f"{_bold(row.difference)}; {share}"


def _bold(estimate: Estimate) -> str:
  text = f"{number(estimate.mean)} {interval(estimate)}"
  return f"**{text}**" if estimate.excludes_zero else text


def _values(rows: Sequence[Row]) -> str:
  """Means of one metric, a row per weather and a column per method."""
  methods = list(dict.fromkeys(row.method for row in rows))
  found = {(row.place, row.method): row.score for row in rows}
  places = dict.fromkeys(row.place for row in rows)
  lines = (
    [_weather(p), *(f"{number(found[p, m].mean)} {interval(found[p, m])}" for m in methods)]
    for p in places
  )
  return table(["", *map(plain, methods)], lines)


def _weather(place: tuple[str, str, str]) -> str:
  """Kind and level."""
  return f"{place[1]}, {place[2]}"
