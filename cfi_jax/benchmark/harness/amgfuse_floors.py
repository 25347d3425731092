"""Bytes and FLOPs that AMG-Fuse needs, counted by hand from a stated schedule.

A map is one map of C channels at the size of its level. Every map is written once and read once for
each use, indices of a sort like maps; passes:

- A convolution reads its input and writes its output; what is elementwise, normalisation and
  shuffling of pixels happen in passing, and so do single pixels' products before or after windows.
- A block reads its input and sorts half of it along columns, then rows; makes five maps of it,
  sorts them by one; reads four for scores, the fifth for the attended map; and moves that back in
  the pixels of the image, then half of it in rows and in columns. The feedforward is one pass.
- A coupling reads three maps for its mask, and again for masked queries; writes two queries, keys
  and values; reads these for scores, and values and streams for the update. Matrices C x C of an
  image are multiplied with each other before values.
- Fusing leaves out what only the other two outputs need.
- Backwards, a pass reads the gradients of what it wrote and again what it read, and writes the
  gradients of that. It does the arithmetic of two forward passes; in the frozen network, of one.

Left out, all small: parameters and Adam, losses, C x C products, the gate, elementwise arithmetic,
and the rule of a prior.
A multiplication with an addition is two FLOPs; sorting has none.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from cfi_jax.benchmark.harness.floors import ITEM_BYTES, Cost

SCHEDULE = "schedule: cfi_jax/benchmark/harness/amgfuse_floors.py"


@dataclasses.dataclass(frozen=True)
class Pass:
  """Passes at one level: multiply-adds per pixel, and channels read and written per pixel."""

  level: int
  macs: float
  reads: float
  writes: float


def fuse_cost(
  architecture: Mapping[str, Any], batch: int, height: int, width: int, dtype: str
) -> Cost:
  """The needs of fusing a batch, the fused images alone."""
  passes = list(fusion(architecture, only_fused=True))
  size = (side // architecture.get("fold", 1) for side in (height, width))
  return total(passes, batch, *size, dtype, arithmetic=1, reads=1, writes=1)


def train_cost(
  architecture: Mapping[str, Any], frozen: Mapping[str, Any] | None, batch: int, crop: int, dtype
) -> Cost:
  """The needs of a training step of either network; frozen: the restoration network, if used."""
  networks = {"amgfuse": fusion, "restoration": restoration}
  passes = list(networks[architecture["name"]](architecture))
  side = crop // architecture.get("fold", 1)
  cost = total(passes, batch, side, side, dtype, arithmetic=3, reads=3, writes=2)
  if frozen is None:
    return cost
  other = total(list(restoration(frozen)), batch, crop, crop, dtype, 2, reads=3, writes=2)
  return Cost(cost.flops + other.flops, cost.bytes + other.bytes)


def total(
  passes: list[Pass], batch: int, height: int, width: int, dtype: str, arithmetic, reads, writes
) -> Cost:
  """The sum of passes, each kind of its work so many times."""
  flops = moved = 0.0
  for one in passes:
    pixels = batch * (height >> (one.level - 1)) * (width >> (one.level - 1))
    flops += 2 * arithmetic * one.macs * pixels
    moved += (reads * one.reads + writes * one.writes) * ITEM_BYTES[dtype] * pixels
  return Cost(flops, moved)


def fusion(architecture: Mapping[str, Any], only_fused: bool = False) -> Iterator[Pass]:
  """The forward passes of the fusion network, on the pixels that are left by its `fold`.

  A prior needs the other two outputs for the fused one, and gives gains and offsets.
  """
  width, blocks, heads = (architecture[k] for k in ("width", "blocks", "heads"))
  levels, refinement = len(blocks), architecture["refinement"]
  square, prior = architecture.get("fold", 1) ** 2, architecture.get("prior", "none") != "none"
  only_fused, outputs = only_fused and not prior, (6 if prior else 3) * square
  for channels in (3 * square, square):
    yield Pass(1, 9 * channels * width, channels, width)
    yield from stage(1, width)
  yield from coupling(1, width, heads[0], first=True)
  for level in range(2, levels + 1):
    wide = width * 2 ** (level - 1)
    for _ in range(3):  # convolved at the finer level
      yield from down(level - 1, wide // 2)
    yield from stages(level, wide, blocks[level - 1])
    yield from coupling(level, wide, heads[level - 1])
  for level in range(levels - 1, 0, -1):
    fine = width * 2 ** (level - 1)
    wide = fine if level > 1 else 2 * fine
    for _ in range(3):
      yield from up(level + 1, 2 * fine)
      yield from reduce(level, fine)
    yield from stages(level, wide, blocks[level - 1])
    yield from coupling(level, wide, heads[level - 1], only_fused=only_fused and level == 1)
  last = width * min(levels, 2)
  if only_fused:
    for _ in range(refinement):
      yield from block(1, last)
  else:
    yield from stages(1, last, refinement)
  for _ in range(1 if only_fused else 3):
    yield Pass(1, 9 * last * outputs, last, outputs)


def restoration(architecture: Mapping[str, Any]) -> Iterator[Pass]:
  """The forward passes of the restoration network."""
  width, counts = architecture["width"], architecture["blocks"]
  levels = len(counts)
  yield Pass(1, 27 * width, 3, width)
  for level in range(1, levels + 1):
    for _ in range(counts[level - 1]):
      yield from block(level, width * 2 ** (level - 1))
    if level < levels:
      yield from down(level, width * 2 ** (level - 1))
  for level in range(levels - 1, 0, -1):
    fine = width * 2 ** (level - 1)
    yield from up(level + 1, 2 * fine)
    yield from reduce(level, fine)
    for _ in range(counts[level - 1]):
      yield from block(level, fine if level > 1 else 2 * fine)
  last = width * min(levels, 2)
  for _ in range(architecture["refinement"]):
    yield from block(1, last)
  yield Pass(1, 27 * last, last + 3, 3)


def stage(level: int, c: int) -> Iterator[Pass]:
  """Two convolutions, the input added."""
  yield Pass(level, 18 * c * c, 3 * c, 2 * c)


def stages(level: int, c: int, count: int) -> Iterator[Pass]:
  """The three streams of a level."""
  for _ in range(2):
    yield from stage(level, c)
  for _ in range(count):
    yield from block(level, c)


def down(level: int, c: int) -> Iterator[Pass]:
  """From a level to the coarser one."""
  yield Pass(level, 9 * c * c / 2, c, c / 2)


def up(level: int, c: int) -> Iterator[Pass]:
  """From a level to the finer one."""
  yield Pass(level, 18 * c * c, c, 2 * c)


def reduce(level: int, c: int) -> Iterator[Pass]:
  """Two maps side by side into one, where the level does so."""
  if level > 1:
    yield Pass(level, 2 * c * c, 2 * c, c)


def block(level: int, c: int) -> Iterator[Pass]:
  """Attention among sorted pixels, and the feedforward."""
  hidden = int(2.66 * c)
  yield Pass(level, 0, 1.5 * c, 2 * c)  # half sorted along columns, then rows, with indices
  yield Pass(level, 5 * c * c + 45 * c, c, 5 * c)
  yield Pass(level, 0, 5 * c, 6 * c)  # sorted by the fifth map
  yield Pass(level, 4 * c * c, 5 * c, c)
  yield Pass(level, c * c, 2 * c, c)  # moved back in the image
  yield Pass(level, 0, 3.5 * c, 1.5 * c)  # in rows, in columns; the residual added
  # 3x3 and 5x5 windows on 2 h channels, then on the pairs of these.
  yield Pass(level, 4 * c * hidden + 34 * 2 * hidden + 34 * 2 * hidden, c, c)


def coupling(
  level: int, c: int, heads: int, first: bool = False, only_fused: bool = False
) -> Iterator[Pass]:
  """The mask, both queries, and the update of the streams, or of the fused one."""
  streams = 1 if first else 3
  yield Pass(level, 18 * c * c, (2 * streams + 1) * c, 2 * c)
  yield Pass(level, 2 * c * c + 18 * c, 3 * c, 2 * c)
  yield Pass(level, 2 * c * c + 18 * c, c, 2 * c)
  updated = 1 if only_fused else 3
  yield Pass(level, 2 * c * c / heads, 3 * c, 0)
  yield Pass(level, updated * c * c, (1 + updated) * c, updated * c)
