"""Scores of many fused images: the table, and the batched computation that fills it."""

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import Array, InputError
from cfi_jax.metrics.catalogue import METRICS, find_metrics
from cfi_jax.metrics.definition import Metric
from cfi_jax.metrics.levels import grey_levels

COLUMNS = ("method", "name", "metric", "convention", "value", "degenerate")
BATCH_PIXELS = 2**22  # canvas pixels per batch on an accelerator: about 2 GB with FMI
SMALLEST_CANVAS = 64
CANVAS_WASTE = 2.0  # compiling for a canvas costs as much as scoring some hundred images


@dataclasses.dataclass(frozen=True, eq=False)
class Triplet:
  """One fused image with its sources: arrays as `grey_levels` takes them, of one height and width.

  method: what fused it. name: of the pair.
  """

  method: str
  name: str
  visible: np.ndarray
  infrared: np.ndarray
  fused: np.ndarray


class Row(NamedTuple):
  """One metric of one fused image. Means leave out rows that are degenerate (see `Score`)."""

  method: str
  name: str
  metric: str
  convention: str
  value: float
  degenerate: bool


@dataclasses.dataclass(frozen=True)
class Scores:
  """A table of rows, in the order in which they were scored."""

  rows: tuple[Row, ...]

  @functools.cached_property
  def methods(self) -> tuple[str, ...]:
    """The methods, in order of appearance."""
    return tuple(dict.fromkeys(row.method for row in self.rows))

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """The names of the pairs, in order of appearance."""
    return tuple(dict.fromkeys(row.name for row in self.rows))

  @functools.cached_property
  def metrics(self) -> tuple[str, ...]:
    """The metrics, in order of appearance."""
    return tuple(dict.fromkeys(row.metric for row in self.rows))

  def __len__(self) -> int:
    """The number of scores."""
    return len(self.rows)

  @functools.cached_property
  def conventions(self) -> Mapping[str, str]:
    """The convention of every metric."""
    return {row.metric: row.convention for row in self.rows}

  def values(self, metric: str) -> np.ndarray:
    """float64 [methods, names] of one metric; NaN where it is degenerate or was not scored."""
    method_index = {method: k for k, method in enumerate(self.methods)}
    name_index = {name: k for k, name in enumerate(self.names)}
    values = np.full((len(self.methods), len(self.names)), np.nan)
    for row in self.rows:
      if row.metric == metric and not row.degenerate:
        values[method_index[row.method], name_index[row.name]] = row.value
    return values

  def mean(self, metric: str, method: str) -> float:
    """Mean over the images that are not degenerate; NaN where none is left."""
    values = self.values(metric)[self.methods.index(method)]
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else math.nan

  def to_csv(self) -> str:
    """One line per row, with a header; values with nine significant digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in self.rows:
      writer.writerow((*row[:4], f"{row.value:.9g}", int(row.degenerate)))
    return text.getvalue()


def read_scores(path: Path | str) -> Scores:
  """Reads a file of what `Scores.to_csv` gave; raises InputError on anything else."""
  try:
    with io.TextIOWrapper(storage.open_binary(path), "utf-8", newline="") as file:
      lines = list(csv.reader(file))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise InputError(f"{path}: cannot be read as a table: {error}") from error
  if not lines or tuple(lines[0]) != COLUMNS:
    raise InputError(f"{path}: expected a header {','.join(COLUMNS)}")
  try:
    rows = tuple(Row(*line[:4], float(line[4]), bool(int(line[5]))) for line in lines[1:])
  except (ValueError, IndexError) as error:
    raise InputError(f"{path}: not a table of scores: {error}") from error
  return Scores(rows)


def score(
  triplets: Iterable[Triplet],
  metrics: Sequence[str] | None = None,
  convention: str = "tang",
  *,
  total: int | None = None,
  progress: bool = True,
) -> Scores:
  """Scores fused images, in batches of like size on the default device.

  Triplets are taken one by one and at most one batch per size is held, so a generator that reads
  files keeps memory bounded.

  Args:
    triplets: what to score.
    metrics: names; all that the convention defines by default.
    convention: "tang", "cddfuse" or "strict".
    total: number of triplets, for the progress.
    progress: whether to tell of the progress.

  Returns:
    Scores, one row per triplet and metric. A metric whose minimum side the image misses is NaN and
    degenerate.

  Raises:
    InputError: unknown names, or a triplet whose images differ in size or are not 8-bit.
  """
  wanted = find_metrics(metrics, convention)
  results: dict[int, list[Row]] = {}
  with Progress(f"scoring ({convention})", "image", total, shown=progress) as told:
    for canvas, batch in _batches(triplets, convention):
      for index, rows in _score_batch(batch, canvas, wanted, convention):
        results[index] = rows
        told.update()
  return Scores(tuple(row for index in sorted(results) for row in results[index]))


class _Item(NamedTuple):
  index: int
  method: str
  name: str
  levels: tuple[np.ndarray, np.ndarray, np.ndarray]  # visible, infrared, fused


def _batches(
  triplets: Iterable[Triplet], convention: str
) -> Iterator[tuple[tuple[int, int], list[_Item]]]:
  """Canvases and groups of triplets that share them, full groups first."""
  waiting: dict[tuple[int, int], list[_Item]] = {}
  canvases: list[tuple[int, int]] = []
  for index, triplet in enumerate(triplets):
    item = _Item(index, triplet.method, triplet.name, _triplet_levels(triplet, convention))
    canvas = _canvas(item.levels[0].shape, canvases)
    group = waiting.setdefault(canvas, [])
    group.append(item)
    if len(group) >= _batch_size(canvas):
      yield canvas, waiting.pop(canvas)
  yield from waiting.items()


def _triplet_levels(triplet: Triplet, convention: str) -> tuple[np.ndarray, ...]:
  arrays = tuple(
    grey_levels(image, convention, f"{triplet.method}/{triplet.name} ({role})")
    for role, image in (
      ("visible", triplet.visible),
      ("infrared", triplet.infrared),
      ("fused", triplet.fused),
    )
  )
  if len({a.shape for a in arrays}) != 1:
    sizes = ", ".join(f"{a.shape[0]}x{a.shape[1]}" for a in arrays)
    raise InputError(
      f"{triplet.method}/{triplet.name}: visible, infrared and fused differ in size: {sizes}"
    )
  return arrays


def _canvas(shape: tuple[int, ...], known: list[tuple[int, int]]) -> tuple[int, int]:
  """The canvas for an image; one that is compiled already where it is not much too large."""
  own = tuple(_canvas_side(side) for side in shape)
  fitting = [c for c in known if c[0] >= shape[0] and c[1] >= shape[1]]
  best = min(fitting, key=math.prod, default=None)
  if best is not None and math.prod(best) <= CANVAS_WASTE * math.prod(own):
    return best
  known.append(own)
  return own


def _canvas_side(side: int) -> int:
  """The smallest 2^k or 1.5 2^k that holds the side: few sizes, so few compilations."""
  canvas = SMALLEST_CANVAS
  while canvas < side:
    canvas = canvas * 3 // 2 if canvas & (canvas - 1) == 0 else canvas // 3 * 4
  return canvas


def _batch_size(canvas: tuple[int, int]) -> int:
  """A power of two; 1 on a CPU, where a batch saves nothing and spills the caches."""
  if jax.default_backend() == "cpu":
    return 1
  return 2 ** int(math.log2(max(1, BATCH_PIXELS // (canvas[0] * canvas[1]))))


def _score_batch(
  batch: list[_Item], canvas: tuple[int, int], metrics: tuple[Metric, ...], convention: str
) -> Iterator[tuple[int, list[Row]]]:
  """Scores one batch; yields (index, rows) per triplet."""
  shapes = [item.levels[0].shape for item in batch]
  fitting = tuple(m.name for m in metrics if m.minimum_side(convention) <= min(canvas))
  values = degenerate = np.empty((len(batch), 0))
  if fitting:
    count = 2 ** math.ceil(math.log2(len(batch)))  # few batch sizes, so few compilations
    padded = batch + batch[-1:] * (count - len(batch))
    images = (np.stack([_on_canvas(p.levels[k], canvas) for p in padded]) for k in range(3))
    sizes = np.array([p.levels[0].shape for p in padded], np.int32)
    values, degenerate = jax.device_get(score_levels(*images, sizes, fitting, convention))
  for k, item in enumerate(batch):
    rows = []
    for metric in metrics:
      value, left_out = math.nan, True
      if metric.minimum_side(convention) <= min(shapes[k]):
        column = fitting.index(metric.name)
        value, left_out = float(values[k, column]), bool(degenerate[k, column])
      rows.append(Row(item.method, item.name, metric.name, convention, value, left_out))
    yield item.index, rows


def _on_canvas(levels: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
  return np.pad(levels, [(0, c - s) for c, s in zip(canvas, levels.shape, strict=True)])


@functools.partial(jax.jit, static_argnames=("names", "convention"))
def score_levels(
  visible: Array,
  infrared: Array,
  fused: Array,
  sizes: Array,
  names: tuple[str, ...],
  convention: str,
) -> tuple[Array, Array]:
  """Values and degenerate flags [B, metrics] of triplets [B, H, W] of true sizes [B, 2]."""
  chex.assert_rank([visible, infrared, fused], 3)
  chex.assert_equal_shape([visible, infrared, fused])
  chex.assert_shape(sizes, (len(visible), 2))

  def one(visible, infrared, fused, size):
    scores = [
      METRICS[name](visible, infrared, fused, convention=convention, size=(size[0], size[1]))
      for name in names
    ]
    return jnp.stack([s.value for s in scores]), jnp.stack([s.degenerate for s in scores])

  return jax.vmap(one)(visible, infrared, fused, sizes)
