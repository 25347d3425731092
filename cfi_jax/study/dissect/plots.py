"""The plots of a dissection; needs matplotlib (the extra `analyze`)."""

from collections.abc import Sequence

from cfi_jax.report import figures
from cfi_jax.study.dissect import results
from cfi_jax.study.dissect.results import BY_STEP, Findings

# File -> (quantity, conditions that begin so, whether x is the step).
FIGURES = {
  "right_class": (results.RIGHT + BY_STEP, ""),
  "found": (results.FOUND + BY_STEP, ""),
  "miou": (results.MIOU + BY_STEP, ""),
  "cka": (results.CKA + BY_STEP, "level"),
  "specificity": (results.SPECIFIC + BY_STEP, ""),
  "semantic_variance_visible": (results.SEMANTIC + BY_STEP, "visible"),
  "semantic_variance_infrared": (results.SEMANTIC + BY_STEP, "infrared"),
  "semantic_variance_fused": (results.SEMANTIC + BY_STEP, "fused"),
  "twins": (results.TWIN + BY_STEP, ""),
}
COLUMNS = 4  # panels in a row


def draw(found: Findings, steps: Sequence[int]) -> dict[str, bytes]:
  """The files of all figures by name: one panel per condition, a line per network over steps."""
  files: dict[str, bytes] = {}
  for name, (quantity, beginning) in FIGURES.items():
    conditions = dict.fromkeys(
      c for _, q, c, _ in found if q == quantity and c.startswith(beginning)
    )
    if conditions:
      files |= figures.save(name, _figure(found, quantity, list(conditions), steps))
  return files


def _figure(found: Findings, quantity: str, conditions: Sequence[str], steps: Sequence[int]):
  from matplotlib.figure import Figure

  models = list(dict.fromkeys(m for m, q, _, _ in found if q == quantity))
  columns = min(COLUMNS, len(conditions))
  count = -(-len(conditions) // columns)
  figure = Figure(figsize=(3.4 * columns, 0.6 + 2.8 * count), layout="constrained")
  axes = figure.subplots(count, columns, squeeze=False, sharey=True).ravel()
  for axis in axes[len(conditions) :]:
    axis.set_axis_off()
  for axis, condition in zip(axes, conditions, strict=False):
    for k, model in enumerate(models):
      rows = [
        (place + 0.4 * (k / max(1, len(models) - 1) - 0.5), found[key].estimate)
        for place, step in enumerate(steps)
        if (key := (model, quantity, condition, float(step))) in found
      ]
      if not rows:
        continue
      at, means = [x for x, _ in rows], [e.mean for _, e in rows]
      bars = [[max(0.0, e.mean - e.low), max(0.0, e.high - e.mean)] for _, e in rows]
      axis.errorbar(
        at, means, list(zip(*bars, strict=True)), fmt="o-", markersize=3, linewidth=1,
        label=model, color=f"C{k}",
      )  # fmt: skip
    axis.set_xticks(range(len(steps)), [str(step) for step in steps])
    axis.set_title(condition, fontsize=9)
    axis.set_xlabel("step")
    axis.grid(alpha=0.3)
  handles, labels = max((a.get_legend_handles_labels() for a in axes), key=lambda one: len(one[1]))
  figure.suptitle(quantity.removesuffix(BY_STEP), fontsize=10)
  figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=5)
  return figure
