"""Bytes and FLOPs that fusing and a training step need, counted by hand from a stated schedule.

A map is one feature map of C channels at the size of its level (1, 1/4 and 1/16 of the pixels). The
schedule writes every map once and reads it once for each use, with these passes:

- A convolution reads its input and writes its output before BatchNorm, adding up the statistics
  while it writes. Whoever reads the map normalises and applies LeakyReLU in passing. Max-pooling
  and upsampling happen while reading: the first convolution of a coarser level reads the finer map
  (4 of its own size), the decoder's reads the coarser one (1/4).
- Attention reads the features of both modalities and writes complementary features; its weights
  never exist in memory. When fusing, gate and mix are one pass; in training the gate's BatchNorm
  splits them, and the hidden map (C/2) goes through memory.
- Backwards, a convolution's pass reads the gradient of its output, the output (for BatchNorm and
  LeakyReLU) and the input, and writes the gradient of its input; gradients of kernels stay on the
  chip. It does the arithmetic of two forward convolutions, of one where the input is an image.
- A modality is encoded once for all views that share it, and a blank image for one sample: 3B + 1
  images per modality for the five views of a batch of B, while CFI and decoder run 5B times and
  read 4B + 1 feature maps per modality.

Left out, all small: parameters and Adam (6 MB a step), 8x8 grids, maps of one channel other than
the images and the result, with all that a prior's rule makes of them, elementwise arithmetic. A
multiplication with an addition is two FLOPs.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from cfi_jax.fusion import interventions
from cfi_jax.fusion.types import MODALITIES

SCHEDULE = "schedule: cfi_jax/benchmark/harness/floors.py"
ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2}


@dataclasses.dataclass(frozen=True)
class Cost:
  """FLOPs of some work, and bytes that it moves through the device's memory."""

  flops: float
  bytes: float


@dataclasses.dataclass(frozen=True)
class Network:
  """Sizes that the counting depends on.

  hidden: channels between the gate's two convolutions. heads: maps of one channel that the network
    ends with, two where it has a prior.
  """

  features: int = 32
  grid: int = 8
  hidden: int = 16
  levels: int = 3
  heads: int = 1


@dataclasses.dataclass(frozen=True)
class Counts:
  """Numbers of maps of each kind in one step or call.

  image: images encoded. feature: encoded images that views read, one modality at a time.
  view: pairs of features that are fused.
  """

  image: int
  feature: int
  view: int


@dataclasses.dataclass(frozen=True)
class Pass:
  """One pass at one level: multiply-adds per pixel, and maps read and written, for each `per`."""

  per: Literal["image", "feature", "view"]
  macs: float
  reads: float
  writes: float


def fuse_cost(network: Network, batch: int, height: int, width: int, dtype: str) -> Cost:
  """Fusing a batch with folded BatchNorm and folded query projections."""
  counts = Counts(image=len(MODALITIES) * batch, feature=len(MODALITIES) * batch, view=batch)
  return _total([forward], network, counts, False, height, width, dtype)


def train_cost(
  network: Network, views: Sequence[str], batch: int, height: int, width: int, dtype: str
) -> Cost:
  """One optimizer step on the original view and the interventions `views`."""
  return _total([forward, backward], network, count(views, batch), True, height, width, dtype)


def count(views: Sequence[str], batch: int) -> Counts:
  """Maps of one training step; two views share what their interventions keep or blank."""
  images, features = len(MODALITIES) * batch, len(MODALITIES) * batch  # of the original view
  chosen = [interventions.get(name) for name in views]
  for modality in MODALITIES:
    images += min(1, sum(modality in one.blanks for one in chosen))
    for one in chosen:
      features += 1 if modality in one.blanks else batch
      images += 0 if modality in one.blanks + one.keeps else batch
  return Counts(image=images, feature=features, view=batch * (1 + len(chosen)))


def forward(network: Network, level: int, train: bool) -> Iterator[Pass]:
  """The forward passes of one level, 1 the finest."""
  c, hidden = network.features, network.hidden
  finest = level == 1
  yield Pass("image", 9 * c * (1 if finest else c), 1 / c if finest else 4, 1)
  yield Pass("image", 9 * c * c, 1, 1)
  # Attention: queries from both modalities, then scores and weighted sums in both directions.
  yield Pass("feature", c * c if train else 0, 1, 0)
  yield Pass("view", 4 * network.grid**2 * c, 0, 1)
  yield Pass("feature", 0, 1, 0)  # the local sum, for the mix
  if train:
    yield Pass("view", 9 * c * hidden, 1, hidden / c)  # gate
    yield Pass("view", hidden, hidden / c + 1, 1)  # gate's head and mix
  else:
    yield Pass("view", 9 * c * hidden + hidden, 1, 1)
  yield Pass("view", 9 * c * c, 1, 1)  # refine
  if level < network.levels:
    yield Pass("view", 9 * c * c, 1 + 1 / 4, 1)
    yield Pass("view", 9 * c * c, 1, 1)
  if finest:
    yield Pass("view", 9 * c * network.heads, 1, network.heads / c)


def backward(network: Network, level: int, train: bool) -> Iterator[Pass]:
  """The backward passes of one level, 1 the finest."""
  del train  # there is no other kind
  c, hidden = network.features, network.hidden
  finest = level == 1
  from_finer = 1 if finest else 4  # the gradient of an upsampled map is read at the finer size
  if finest:
    yield Pass("view", 18 * c * network.heads, network.heads / c + 1, 1)
  if level < network.levels:
    yield Pass("view", 18 * c * c, from_finer + 2, 1)
    yield Pass("view", 18 * c * c, 2 + 1 + 1 / 4, 1)
  yield Pass("view", 18 * c * c, (1 if level < network.levels else from_finer) + 2, 1)  # refine
  yield Pass("view", 2 * hidden, 2 + hidden / c, hidden / c)  # mix and gate's head
  yield Pass("feature", 0, 1, 0)  # the local sum, for the gate's gradient
  yield Pass("view", 18 * c * hidden, 2 * hidden / c + 1, 1)  # gate
  yield Pass("view", 8 * network.grid**2 * c, 2, 0)  # attention
  yield Pass("feature", 2 * c * c, 1, 1)
  # The second convolution collects the gradients that the views and the coarser level wrote.
  yield Pass("feature", 0, 1, 0)
  yield Pass("image", 18 * c * c, 2 + (1 / 4 if level < network.levels else 0), 1)
  yield Pass(
    "image", 9 * c if finest else 18 * c * c, 2 + (1 / c if finest else 4), 0 if finest else 1
  )


def _total(
  kinds: Sequence, network: Network, counts: Counts, train: bool, height: int, width: int, dtype
) -> Cost:
  flops = moved = 0.0
  for level in range(1, network.levels + 1):
    pixels = (height >> (level - 1)) * (width >> (level - 1))
    for one in (p for kind in kinds for p in kind(network, level, train)):
      times = pixels * getattr(counts, one.per)
      flops += 2 * one.macs * times
      moved += (one.reads + one.writes) * network.features * ITEM_BYTES[dtype] * times
  return Cost(flops, moved)
