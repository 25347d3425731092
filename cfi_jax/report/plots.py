"""Small plots as SVG text that needs nothing else."""

import dataclasses
import html
import math
from collections.abc import Sequence

from cfi_jax.report.markdown import interval, number
from cfi_jax.report.summary import Entry

WIDTH, LABEL, ROW, TOP = 460, 150, 20, 8
AXIS = 24


def interval_plot(entries: Sequence[Entry], highlighted: str) -> str:
  """Means as dots and intervals as bars, one row per method, best first, as an <svg> element.

  A published mean has no interval and is a dot alone.
  """
  shown = [e for e in entries if math.isfinite(e.estimate.mean)]
  if not shown:
    return "<p>no image on which this metric is defined</p>"
  ends = [end for e in shown for end in dataclasses.astuple(e.estimate) if not math.isnan(end)]
  low, high = min(ends), max(ends)
  span = high - low or max(abs(high), 1.0)
  low, high = low - 0.04 * span, high + 0.04 * span

  def x(value: float) -> float:
    return round(LABEL + (value - low) / (high - low) * (WIDTH - LABEL - 10), 1)

  height = TOP + ROW * len(shown) + AXIS
  base = height - AXIS
  parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" class="plot">']
  for tick in (low + 0.04 * span, (low + high) / 2, high - 0.04 * span):
    parts.append(f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{TOP}" y2="{base}"/>')
    parts.append(
      f'<text class="tick" x="{x(tick)}" y="{base + 16}" text-anchor="middle">{number(tick)}</text>'
    )
  for index, entry in enumerate(shown):
    y = TOP + ROW * index + ROW / 2
    style = "mark chosen" if entry.method == highlighted else "mark"
    estimate = entry.estimate
    title = f"{entry.method}: {number(estimate.mean)}, published"
    if entry.count is not None:
      values = f"{number(estimate.mean)} {interval(estimate)}"
      title = f"{entry.method}: {values}, {entry.count} images"
    parts.append(f'<g class="{style}"><title>{html.escape(title)}</title>')
    parts.append(
      f'<text x="{LABEL - 8}" y="{y + 4}" text-anchor="end">{_short(entry.method)}</text>'
    )
    if entry.count is not None:
      parts.append(f'<line x1="{x(estimate.low)}" x2="{x(estimate.high)}" y1="{y}" y2="{y}"/>')
    parts.append(f'<circle cx="{x(estimate.mean)}" cy="{y}" r="4"/></g>')
  return "".join(parts) + "</svg>"


def _short(name: str) -> str:
  return html.escape(name if len(name) <= 22 else name[:21] + "…")
