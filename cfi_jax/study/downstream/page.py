"""The page of a study of downstream tasks: its tables, plots, and pictures of some scenes."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from cfi_jax.fusion.types import MODALITIES
from cfi_jax.report import page
from cfi_jax.report.markdown import interval, number
from cfi_jax.report.page import Cell, Exhibit
from cfi_jax.report.plots import interval_plot
from cfi_jax.report.summary import Entry
from cfi_jax.study.downstream import report
from cfi_jax.study.downstream.measure import WHOLE, Kept
from cfi_jax.study.downstream.settings import Study


def write_page(
  study: Study, found: report.Findings, about: str, kept: Mapping[str, Sequence[Kept]]
) -> str:
  """The HTML; kept: by row, of each seed; pictures are those of the first."""
  exhibits = _exhibits(study, {row: own[0] for row, own in kept.items()})
  tables = report.tables(study, found)
  paragraphs = about.replace("`", "").split("\n\n")
  body = [f"<p>{text}</p>" for text in paragraphs]
  body += ["<h2>Findings</h2><ul>"]
  body += [f"<li>{html.escape(line)}</li>" for line in report.findings(study, found)]
  body += ["</ul>"]
  for index, (title, rows) in enumerate(tables.items()):
    body.append(f"<h2>{html.escape(title)}</h2>{_table(f'table-{index}', *rows)}")
    if not index:
      body.append(f'<div class="plots">{"".join(_plots(study, found))}</div>')
  if exhibits:
    body.append(f"<h2>Some scenes</h2>{page.pictures(exhibits)}")
  return page.document("Downstream tasks", body)


def _table(identifier: str, names: Sequence[str], lines: Sequence) -> str:
  best = [max((own[k].mean for _, own in lines if own[k]), default=None) for k in range(len(names))]

  def cell(column: int, estimate) -> Cell:
    if estimate is None:
      return Cell("")
    text = f"{number(estimate.mean)} {interval(estimate)}"
    return Cell(text, estimate.mean, estimate.mean == best[column])

  rows = [(row, [cell(k, e) for k, e in enumerate(own)]) for row, own in lines]
  directions = dict.fromkeys(names, "higher")
  return page.table(identifier, ["", *names], rows, directions, MODALITIES)


def _plots(study: Study, found: report.Findings) -> list[str]:
  """One plot of intervals for each score of the first table."""
  plots = []
  for name in report.HEAD:
    own = [found[row, (name, WHOLE), report.VALUE] for row in study.order
           if (row, (name, WHOLE), report.VALUE) in found]  # fmt: skip
    if own:
      own.sort(key=lambda finding: -finding.estimate.mean)
      entries = [Entry(name, f.model, f.estimate, f.samples, None, None) for f in own]
      plot = interval_plot(entries, report.better(found, (name, WHOLE)) or "")
      plots.append(f"<figure><figcaption>{html.escape(name)}</figcaption>{plot}</figure>")
  return plots


def _exhibits(study: Study, kept: Mapping[str, Kept]) -> list[Exhibit]:
  """By scene both images, the truth, every fused image, and all that was perceived."""
  exhibits = []
  first = kept[study.order[0]].pictures
  for scene in first:
    pictures: list[tuple[str, np.ndarray]] = []
    given = next((r for r in study.order if r not in study.fused), study.order[0])
    own = kept[given].pictures[scene]
    pictures += [(name, own[name]) for name in (*MODALITIES, "truth") if name in own]
    for row in study.order:
      own = kept[row].pictures[scene]
      pictures += [(f"{row}, fused", own["visible"])] if row in study.fused else []
      pictures += [(f"{row}, perceived", own["seen"])] if "seen" in own else []
    exhibits.append(Exhibit(scene, tuple(pictures)))
  return exhibits
