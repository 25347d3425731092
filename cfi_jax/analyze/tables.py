"""The meaning of the numbers of an analysis, and tables: rows by quantity, columns by model."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence

from cfi_jax.report import markdown, page
from cfi_jax.report.findings import Finding
from cfi_jax.report.markdown import interval, number, plain
from cfi_jax.report.page import Cell, Row


@dataclasses.dataclass(frozen=True)
class Section:
  """The head of a table: quantities of a part that belong together, and a text on their meaning."""

  part: str
  title: str
  text: str
  quantities: tuple[str, ...]


SECTIONS = (
  Section(
    "effects",
    "Effects of interventions",
    "Mean |F(do) - F|, the change of the fused image F in units of its range: 0, the intervention "
    "changes nothing; 1, it turns black to white everywhere. Holes cover little of an image, so "
    "the mean over the whole image is small even where nothing inside them is filled in: compare "
    "the change inside with that of removing the whole modality. Outside holes it is spill-over.",
    ("effect", "effect inside holes", "effect outside holes"),
  ),
  Section(
    "effects",
    "Compensation",
    "The change inside holes made in one image only, relative to the change at the same pixels "
    "when that whole image is removed: 1, nothing was filled in; 0, the hole leaves no trace. "
    "Holes told: a mask says where they are, to models that take one. The last two put the zero "
    "where the hole shows a copy of the remaining source, or at each pixel of the source nearer to "
    "F (1 still is nothing filled in; below 0 is nearer to F than the copy). A dash: removing the "
    "image changes too little there to tell.",
    (
      "compensation",
      "compensation, holes told",
      "compensation to the remaining source",
      "compensation to the better source",
    ),
  ),
  Section(
    "effects",
    "Necessity",
    "Mean |F(do) - F| when a whole image is removed, where its local standard deviation is in the "
    "highest quarter of the image, and elsewhere: 0, that image is not needed there. On objects: "
    "over their pixels, by the modality that carries them, where the truth is known.",
    ("necessity where informative", "necessity elsewhere", "effect on objects"),
  ),
  Section(
    "gates",
    "Gates",
    "A gate of 1 takes what the modalities attend to in one another, 0 their local sum; level 1 is "
    "the finest. Entropy share: 1, the gate is one half everywhere and decides nothing; 0, it is 0 "
    "or 1 everywhere.",
    ("mean", "spread within images", "spread between images", "entropy", "entropy share"),
  ),
  Section(
    "gates",
    "What the gates follow",
    "Movement: mean |g(do) - g| under an intervention; 0, the gate does not notice it. "
    "Correlation: Spearman's with the local standard deviation of a modality; 1 or -1, the gate "
    "orders positions as it does or the other way round; 0, unrelated. On objects: the mean gate "
    "by what carries them, where the truth is known; equal means do not tell them apart.",
    (
      "movement",
      "movement inside holes",
      "movement outside holes",
      "correlation with local information",
      "mean on objects",
    ),
  ),
  Section(
    "contribution",
    "Contribution of each modality",
    "Share of contribution: 0, the fused image owes the modality nothing of what sets it apart "
    "from the fused baseline; 1, all. Integrated gradients: the modality's mean contribution per "
    "pixel, in units of the fused image (with the other's it sums to F - F of the baseline). "
    "Linear response: mean |dF| per relative change of the modality. Gradient: mean |d sum(F) / d "
    "pixel|. Mean distance: how far from a fused pixel, in pixels, its gradient lies. All in the "
    "centre window of each pair.",
    (
      "share of contribution",
      "share of contribution on objects",
      "integrated gradients",
      "linear response",
      "gradient",
      "mean distance",
    ),
  ),
  Section(
    "contribution",
    "Checks of the contribution",
    "Errors are relative, 0 is exact. Completeness: contributions must sum to F - F of the "
    "baseline. Similarity to randomised weights: Spearman's correlation of maps of the trained and "
    "of a random network; maps near 1 show the images and the architecture, not what was learned.",
    ("completeness error", "finite-difference error", "similarity to randomised weights"),
  ),
  Section(
    "features",
    "Similarity of features",
    "Unbiased linear CKA of two spaces (a modality's features at a level, 1 is the finest) over "
    "pixels of different images: 1, equal up to a rotation and one factor; 0, unrelated; noise can "
    "make it negative. Fewer than about eight images give no interval.",
    ("cka",),
  ),
  Section(
    "features",
    "Consistency of the modalities",
    "Floor: CKA with the features of another image at the same place, what place alone explains. "
    "Ceiling: CKA with the same space of another model of the same architecture. Consistency: CKA "
    "of the two modalities relative to their ceilings; 0, unrelated; 1, as alike as two trainings "
    "are in one modality; a dash where these have hardly anything in common.",
    ("cka floor", "cka ceiling", "consistency"),
  ),
  Section(
    "features",
    "Specificity of features",
    "Share of the variance of a modality's features that the other's features of the level do not "
    "predict linearly (ridge regression) on held-out images: 0, all of it is the other's, too; 1, "
    "nothing is; above 1, the prediction is worse than the mean. Intervals leave out that other "
    "images would give other fits, too.",
    ("specificity",),
  ),
  Section(
    "features",
    "Semantic variance of features",
    "Share of a channel's variance that lies between the classes of a label map, the mean over "
    "channels: 1, the channel is constant within each class; 0, classes have equal means. Null: "
    "with the label maps of other images (range of 95 % of the permutations); what exceeds it is "
    "due to what is at a place in this image. Of few images both are larger. Selective channels: "
    "share above 97.5 % of their null, 1/40 by chance.",
    ("semantic variance", "semantic variance null", "selective channels"),
  ),
)

# Curves, in the plots and findings.csv only: too long for tables.
CURVES = (
  *(
    f"{quantity} by hole {dose}"
    for quantity in ("effect", "effect inside holes", "compensation")
    for dose in ("size", "count")
  ),
  "share changed by more than",
  "histogram",
  "gradient within radius",
  "semantic variance of channel",
)


@dataclasses.dataclass(frozen=True)
class Table:
  """The findings of a section: a row per quantity and condition, a column per model."""

  section: Section
  header: tuple[str, ...]
  rows: tuple[Row, ...]


def arrange(findings: Sequence[Finding], models: Sequence[str]) -> list[Table]:
  """The tables that have rows, in the order of `SECTIONS`; models without any are left out."""
  found: dict[tuple[str, str], dict[str, dict[str, Finding]]] = {}
  for f in findings:
    quantity = found.setdefault((f.analysis, f.quantity), {})
    quantity.setdefault(f.condition, {})[f.model] = f
  tables = []
  for section in SECTIONS:
    rows = {
      f"{quantity}: {condition}": by_model
      for quantity in section.quantities
      for condition, by_model in found.get((section.part, quantity), {}).items()
    }
    present = [m for m in models if any(m in by_model for by_model in rows.values())]
    lines = tuple((name, _cells(by_model, present)) for name, by_model in rows.items())
    if lines:
      tables.append(Table(section, ("", *present, "samples"), lines))
  return tables


def _cells(by_model: Mapping[str, Finding], models: Sequence[str]) -> list[Cell]:
  """A cell per model, a dash where there is no number; then the numbers of samples."""
  cells = []
  for found in map(by_model.get, models):
    text, mean = "-", found.estimate.mean if found else math.nan
    if not math.isnan(mean):
      alone = math.isnan(found.estimate.low)
      text = number(mean) if alone else f"{number(mean)} {interval(found.estimate)}"
    cells.append(Cell(text, mean))
  counts = dict.fromkeys(str(by_model[m].samples) for m in models if m in by_model)
  return [*cells, Cell(", ".join(counts))]


def to_markdown(table: Table) -> str:
  """The section as Markdown: heading, text, table."""
  rows = [[plain(name), *(cell.text for cell in cells)] for name, cells in table.rows]
  lines = markdown.table([*map(plain, table.header)], rows)
  return f"## {table.section.title}\n\n{plain(table.section.text)}\n\n{lines}"


def to_html(table: Table) -> str:
  """The section as HTML: heading, text, sortable table."""
  section = table.section
  identifier = section.title.lower().replace(" ", "-")
  return f"<h3>{html.escape(section.title)}</h3><p>{html.escape(section.text)}</p>" + page.table(
    identifier, table.header, table.rows
  )
