"""Pieces of Markdown: numbers, tables, documents."""

import html
import math
from collections.abc import Iterable, Sequence

from cfi_jax.metrics import METRICS
from cfi_jax.report.estimates import Estimate

DECIMALS = 6  # at most, of every number in a table; files of numbers keep more


def number(value: float) -> str:
  """Fixed-point text: five significant digits from 1 on, four below, at most `DECIMALS` decimals.

  Digits before the point are never cut and there is no exponent: 12346, 0.000186. What is 0 in all
  these decimals is 0.0000. A dash for NaN.
  """
  if math.isnan(value):
    return "-"
  if math.isinf(value):
    return str(value)
  if round(value, DECIMALS) == 0:
    return "0.0000"
  exponent = math.floor(math.log10(abs(value)))
  return f"{value:.{_places((4 if exponent >= 0 else 3) - exponent)}f}"


def deviating(mean: float, deviation: float) -> str:
  """`mean ± deviation`, both to the deviation's second digit; the mean alone where it is NaN."""
  if math.isnan(deviation):
    return number(mean)
  if round(deviation, DECIMALS) == 0:
    return f"{number(mean)} ± 0"
  places = _places(1 - math.floor(math.log10(deviation)))
  return f"{mean:z.{places}f} ± {deviation:.{places}f}"


def _places(wanted: int) -> int:
  return min(max(wanted, 0), DECIMALS)


def interval(estimate: Estimate) -> str:
  """The ends of the interval as `[low, high]`; a dash without a mean or an interval."""
  if math.isnan(estimate.mean) or math.isnan(estimate.low):
    return "-"
  return f"[{number(estimate.low)}, {number(estimate.high)}]"


def arrow(metric: str) -> str:
  """An arrow up where higher is better, else down."""
  return "↑" if METRICS[metric].direction == "higher" else "↓"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table; names in it must have passed through `plain`."""
  lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
  return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def document(title: str, parts: Iterable[str], notes: Sequence[str] = ()) -> str:
  """A title, paragraphs or sections, and a section of notes where there are any."""
  whole = [f"# {plain(title)}", *parts]
  if notes:
    whole.append("## Notes\n\n" + "\n".join(f"- {plain(note)}" for note in notes))
  return "\n\n".join(whole) + "\n"


def plain(text: str) -> str:
  """Text that can neither break a table nor be read as HTML."""
  text = html.escape(text, quote=False)
  return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
