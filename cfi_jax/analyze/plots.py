"""The plots of an analysis; imports matplotlib, which only the extra `analyze` installs."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cfi_jax.report import figures
from cfi_jax.report.findings import Finding

MATRICES = "cka"  # the figure of similarities
_WIDTH, _HEIGHT = 5.2, 3.4  # inches per panel
_ROW = 0.2  # inches per row of a panel of intervals
_MARKERS = "osv^Dx*+"
_LONGEST = 80  # characters of a row's label


@dataclasses.dataclass(frozen=True)
class Panel:
  """One pair of axes: curves over the axis that `x` names, or intervals by row without a name."""

  quantities: tuple[str, ...]
  x: str = ""
  logarithmic: bool = False


_OBJECTS = ("necessity where informative", "necessity elsewhere", "effect on objects")
_FILLED = ("", ", holes told", " to the remaining source", " to the better source")

# Figure -> (part, panels). A panel without findings is left out, and so is a figure without panels.
FIGURES: dict[str, tuple[str, list[Panel]]] = {
  "effects": (
    "effects",
    [
      Panel(("effect", "effect inside holes", "effect outside holes")),
      Panel(tuple(f"compensation{offer}" for offer in _FILLED)),
    ],
  ),
  "dose_response": (
    "effects",
    [
      Panel((f"{quantity} by hole {dose}",), x, logarithmic=True)
      for dose, x in (("size", "size of the holes, pixels"), ("count", "number of holes"))
      for quantity in ("effect", "effect inside holes", "compensation")
    ],
  ),
  "necessity": (
    "effects",
    [
      Panel(("share changed by more than",), "change of a pixel", logarithmic=True),
      Panel(_OBJECTS),
    ],
  ),
  "gates": (
    "gates",
    [
      Panel(("histogram",), "gate"),
      Panel(("mean", "spread within images", "entropy share")),
      Panel(("movement",)),
      Panel(("correlation with local information", "mean on objects")),
    ],
  ),
  "contribution": (
    "contribution",
    [
      Panel(("share of contribution", "share of contribution on objects")),
      Panel(("gradient within radius",), "radius, pixels"),
      Panel(("similarity to randomised weights",)),
    ],
  ),
  "features": (
    "features",
    [
      Panel(("cka floor", "cka ceiling", "consistency")),
      Panel(("specificity",)),
      Panel(("semantic variance", "semantic variance null")),
    ],
  ),
}


def draw(findings: Sequence[Finding], models: Sequence[str]) -> dict[str, dict[str, bytes]]:
  """The files of each part by name: {"gates": {"gates.png": content, "gates.svg": content}}."""
  files: dict[str, dict[str, bytes]] = {}
  with matplotlib.rc_context({"font.size": 8}):
    for name, (part, panels) in FIGURES.items():
      shown = [(panel, found) for panel in panels if (found := _of(panel, part, findings))]
      if shown:
        files.setdefault(part, {}).update(figures.save(name, _figure(shown, models)))
    matrices = _matrices([f for f in findings if f.quantity == "cka"], models)
    if matrices:
      files.setdefault("features", {}).update(figures.save(MATRICES, matrices))
  return files


def _of(panel: Panel, part: str, findings: Sequence[Finding]) -> list[Finding]:
  """The findings of a panel: its quantities, where there is a number."""
  shown = [f for f in findings if f.analysis == part and math.isfinite(f.estimate.mean)]
  return [f for quantity in panel.quantities for f in shown if f.quantity == quantity]


def _figure(shown: Sequence[tuple[Panel, list[Finding]]], models: Sequence[str]) -> Figure:
  columns = 2 if len(shown) == 4 else min(3, len(shown))
  rows = -(-len(shown) // columns)
  most = max([len(_labels(found)) for panel, found in shown if not panel.x], default=0)
  height = max(_HEIGHT, 1 + _ROW * most)
  figure = Figure((_WIDTH * columns, height * rows), layout="constrained")
  axes = figure.subplots(rows, columns, squeeze=False).ravel()
  for (panel, found), ax in zip(shown, axes, strict=False):
    if panel.x:
      _curves(ax, panel, found, models)
    else:
      _intervals(ax, found, models)
  for ax in axes[len(shown) :]:
    ax.remove()
  return figure


def _curves(ax: Axes, panel: Panel, found: Sequence[Finding], models: Sequence[str]) -> None:
  """Lines of one quantity with bands of intervals: colour by model, marker by condition."""
  conditions = list(dict.fromkeys(f.condition for f in found))
  for model, condition in dict.fromkeys((f.model, f.condition) for f in found):
    line = sorted(
      (f for f in found if (f.model, f.condition) == (model, condition)), key=lambda f: f.x
    )
    x, mean, low, high = np.transpose(
      [(f.x, f.estimate.mean, f.estimate.low, f.estimate.high) for f in line]
    )
    marker = _MARKERS[conditions.index(condition) % len(_MARKERS)]
    colour = _colour(model, models)
    ax.plot(x, mean, marker=marker, markersize=3, linewidth=1, color=colour)
    ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
  if panel.logarithmic:
    ax.set_xscale("log", base=2)
    ticks = sorted({f.x for f in found})
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    ax.set_xticks([], minor=True)
  ax.set_xlabel(panel.x)
  ax.set_title(panel.quantities[0])
  for model in dict.fromkeys(f.model for f in found):
    ax.plot([], [], color=_colour(model, models), label=_plain(model))
  for condition, marker in zip(conditions, itertools.cycle(_MARKERS), strict=False):
    ax.plot([], [], marker, markersize=3, color="0.4", label=_plain(condition))
  ax.legend(fontsize=5, framealpha=0.6)
  ax.grid(alpha=0.3)


def _intervals(ax: Axes, found: Sequence[Finding], models: Sequence[str]) -> None:
  """Dots with intervals, one row per quantity and condition, the models side by side."""
  labels = _labels(found)
  present = [model for model in models if any(f.model == model for f in found)]
  for model in present:
    own = [f for f in found if f.model == model]
    shift = (present.index(model) - (len(present) - 1) / 2) * 0.6 / len(present)
    y = [labels.index(_label(f, found)) + shift for f in own]
    mean = np.array([f.estimate.mean for f in own])
    ends = np.array([(f.estimate.low, f.estimate.high) for f in own]).T
    # The mean may lie outside its interval by rounding, or there is none (NaN): no bar.
    bars = np.nan_to_num(np.maximum([mean - ends[0], ends[1] - mean], 0))
    ax.errorbar(
      mean, y, xerr=bars, fmt="o", markersize=3, linewidth=1, color=_colour(model, models)
    )
    ax.plot([], [], "o", markersize=3, color=_colour(model, models), label=_plain(model))
  ax.set_yticks(range(len(labels)), [_plain(label) for label in labels], fontsize=6)
  ax.set_ylim(len(labels) - 0.4, -0.6)
  quantities = {f.quantity for f in found}
  ax.set_title(quantities.pop() if len(quantities) == 1 else "")
  ax.legend(fontsize=6, framealpha=0.6)
  ax.grid(alpha=0.3, axis="x")


def _labels(found: Sequence[Finding]) -> list[str]:
  return list(dict.fromkeys(_label(f, found) for f in found))


def _label(finding: Finding, found: Sequence[Finding]) -> str:
  """The row of a finding; the quantity is named where the panel holds several."""
  several = len({f.quantity for f in found}) > 1
  return f"{finding.quantity}: {finding.condition}" if several else finding.condition


def _matrices(found: Sequence[Finding], models: Sequence[str]) -> Figure | None:
  """CKA of all pairs of spaces as one matrix per model."""
  shown = [model for model in models if any(f.model == model for f in found)]
  if not shown:
    return None
  figure = Figure((_WIDTH * len(shown), _WIDTH), layout="constrained")
  for model, ax in zip(shown, figure.subplots(1, len(shown), squeeze=False)[0], strict=True):
    values = {tuple(f.condition.split(" ~ ")): f.estimate.mean for f in found if f.model == model}
    spaces = list(dict.fromkeys(space for pair in values for space in pair))
    matrix = np.eye(len(spaces))
    for (first, second), value in values.items():
      i, j = spaces.index(first), spaces.index(second)
      matrix[i, j] = matrix[j, i] = value
    ax.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    for (i, j), value in np.ndenumerate(matrix):
      colour = "black" if value > 0.6 else "white"
      ax.text(
        j, i, f"{round(value, 2) + 0.0:.2f}", ha="center", va="center", color=colour, fontsize=6
      )
    names = [_plain(space) for space in spaces]
    ax.set_xticks(range(len(spaces)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(spaces)), names)
    ax.set_title(_plain(f"CKA, {model}"))
  return figure


def _colour(model: str, models: Sequence[str]) -> str:
  return f"C{list(models).index(model) % 10}"


def _plain(text: str) -> str:
  """Text of bearable length that matplotlib does not read as a formula."""
  text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
  return text.replace("$", r"\$")
