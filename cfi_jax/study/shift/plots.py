"""The plots of a study, as PNG and SVG; needs matplotlib (the extra `analyze`)."""

import pathlib
from collections.abc import Mapping, Sequence

from cfi_jax.core.files import write_atomically
from cfi_jax.report import figures
from cfi_jax.study.shift.measure import CONTRASTS, SHARES
from cfi_jax.study.shift.results import Findings
from cfi_jax.study.shift.settings import CORRELATION, Study

COLUMNS = 4  # panels in a row


def write_plots(study: Study, found: Findings, output: pathlib.Path) -> None:
  """Writes worlds and corruptions, each as PNG and SVG, into `output`."""
  worlds = {CORRELATION: tuple(sorted(study.tests.correlations))}
  _draw(found, [(CORRELATION, q) for q in (*SHARES, *CONTRASTS)], worlds, output / "worlds")
  sweeps = {name: tuple(sorted(x)) for name, x in study.tests.corruptions.items() if x}
  if sweeps:
    panels = [(name, SHARES[0]) for name in sweeps]
    _draw(found, panels, sweeps, output / "corruptions")


def _draw(
  found: Findings,
  panels: Sequence[tuple[str, str]],
  places: Mapping[str, tuple[float, ...]],
  path: pathlib.Path,
) -> None:
  """One panel per (sweep, quantity): means with intervals over the places of the sweep."""
  from matplotlib.figure import Figure

  models = list(dict.fromkeys(model for model, *_ in found))
  rows_count = -(-len(panels) // COLUMNS)
  figure = Figure(figsize=(3.2 * COLUMNS, 3.2 * rows_count), layout="constrained")
  axes = figure.subplots(rows_count, COLUMNS, squeeze=False).ravel()
  for axis in axes[len(panels) :]:
    axis.set_axis_off()
  for axis, (sweep, quantity) in zip(axes, panels, strict=False):
    if quantity in SHARES:
      axis.sharey(axes[0])  # shares compare between panels, too
    for k, model in enumerate(models):
      keys = [(model, quantity, sweep, x) for x in places[sweep]]
      rows = [found[key] for key in keys if key in found]
      means = [row.estimate.mean for row in rows]
      below = [max(0.0, row.estimate.mean - row.estimate.low) for row in rows]
      above = [max(0.0, row.estimate.high - row.estimate.mean) for row in rows]
      # Categories, not numbers: strengths of a sweep may differ by orders of magnitude. Models are
      # set side by side, so that intervals do not cover each other.
      at = [places[sweep].index(row.x) + 0.5 * (k / max(1, len(models) - 1) - 0.5) for row in rows]
      axis.errorbar(at, means, (below, above), fmt="o", markersize=3, linewidth=1, label=model)
    axis.set_xticks(range(len(places[sweep])), [f"{x:g}" for x in places[sweep]])
    axis.set_title(quantity, fontsize=9)
    axis.set_xlabel(sweep)
    axis.grid(alpha=0.3)
  handles, labels = axes[0].get_legend_handles_labels()
  figure.legend(handles, labels, fontsize=8, loc="outside upper center", ncols=len(models))
  for name, content in figures.save(path.name, figure).items():
    write_atomically(path.with_name(name), content)
