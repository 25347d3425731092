"""Pieces of Markdown: numbers, tables, documents."""

import html
import math
from collections.abc import Iterable, Sequence

from cfi_jax.metrics import METRICS
from cfi_jax.report.estimates import Estimate


def number(value: float) -> str:
  """Four significant digits at least; a dash for NaN."""
  if math.isnan(value):
    return "-"
  if value == 0:
    return "0.0000"
  if not 1e-3 <= abs(value) < 1e4:
    return f"{value:.3e}"
  exponent = math.floor(math.log10(abs(value)))
  return f"{value:.{max(2, (4 if exponent >= 0 else 3) - exponent)}f}"


def interval(estimate: Estimate) -> str:
  """The ends of the interval as `[low, high]`; a dash without a mean."""
  if math.isnan(estimate.mean):
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
