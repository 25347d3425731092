"""Bytes and FLOPs that a training step of DFC-Net needs, counted by hand from a stated schedule.

Passes over the examples of a step, paired ones and those of support together:

- A convolution reads its input and writes its output; what is elementwise, enlarging, joining and
  normalisation happen in passing. Backwards it reads the gradient of its output and its input and
  writes the gradient of its input, with the arithmetic of two forward ones; in a network that a
  loss only looks through, it reads no input and has the arithmetic of one.
- The generator's learner draws once, forward and backward. The estimator learns from the targets;
  what the static term wants of them is part of that, as are the static branch's features of the
  targets of drawing. The discriminator learns from answers and made pictures.
- The losses look at made pictures through the discriminator, the estimator and the first layer of
  the static branch, forward and backward, as far as they have a weight. Poses that are read off
  pictures take the estimator forward on the sources, and on the answers for the pose term.
- The skeleton warp writes the colours and the order of every limb once; the generator reads them
  forward and backward.

Left out, all small: parameters and Adam, proportions, keypoints and their maps, the sampling of the
warp, attention, other elementwise arithmetic. A multiplication with an addition is two FLOPs.
"""

from collections.abc import Sequence
from typing import NamedTuple

from cfi_jax.benchmark.harness.floors import ITEM_BYTES, Cost
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.systems.dfcnet.config import Config
from cfi_jax.systems.dfcnet.model import Architecture
from cfi_jax.systems.dfcnet.warp import LIMBS

SCHEDULE = "schedule: cfi_jax/benchmark/harness/dfcnet_floors.py"


class Conv(NamedTuple):
  """A convolution; scale: the picture's side over that of its output."""

  kernel: int
  inputs: int
  outputs: int
  scale: int
  stride: int = 1


def estimator(width: int) -> list[Conv]:
  """The convolutions of the pose estimator."""
  fine, middle, coarse, last = (n * width for n in (32, 64, 96, 40))
  return [
    Conv(5, 3, fine, 2, 2), Conv(3, fine, middle, 4, 2), Conv(3, middle, coarse, 8, 2),
    Conv(3, coarse, coarse, 8), Conv(3, coarse, coarse, 8),
    Conv(3, coarse + middle, middle, 4), Conv(3, middle + fine, last, 2),
    Conv(1, last, len(JOINTS), 2),
  ]  # fmt: skip


def encoder(inputs: int, kernel: int, stride: int, width: int) -> list[Conv]:
  """The convolutions of a branch, the first at half the side."""
  fine, coarse = 32 * width, 64 * width
  return [
    Conv(kernel, inputs, fine, 2, stride), Conv(3, fine, coarse, 4, 2),
    Conv(3, coarse, coarse, 4), Conv(3, coarse, coarse, 4),
  ]  # fmt: skip


def generator(architecture: Architecture) -> list[Conv]:
  """The convolutions of the generator."""
  width = architecture.width
  n16, n24, n32, n48, n64 = (n * width for n in (16, 24, 32, 48, 64))
  features = n64 * 3 + 2  # of pose and target, the latter's mean, and positions
  if architecture.transport != "warp":
    attends = architecture.transport == "attend"
    return [
      Conv(1, features + n64 * attends, n64, 4), *([Conv(3, n64, n64, 4)] * (4 if attends else 6)),
      Conv(3, n64 + 2 * n32, n48, 2), Conv(3, n48, n24, 1), Conv(3, n24 + 3, 3, 1),
    ]  # fmt: skip
  blends = architecture.blend == "learned"
  given = 8 + blends * (3 + LIMBS)
  return [
    Conv(3, given, n16, 1), Conv(3, n16, n32, 2, 2), Conv(3, n32, n64, 4, 2),
    Conv(1, n64 + features, n64, 4), *([Conv(3, n64, n64, 4)] * 4),
    Conv(3, n64 + 3 * n32, n32, 2), Conv(3, n32 + n16, n24, 1),
    Conv(3, n24, 3 + blends * (LIMBS + 3), 1),
  ]  # fmt: skip


def discriminator(width: int, scales: int) -> list[Conv]:
  """The convolutions of the discriminator."""
  found = []
  for scale in (2**number for number in range(scales)):
    n32, n64, n96 = (n * width for n in (32, 64, 96))
    found += [
      Conv(4, 3, n32, 2 * scale, 2), Conv(4, n32 + len(JOINTS), n64, 4 * scale, 2),
      Conv(4, n64, n96, 8 * scale, 2), Conv(3, n96, 1, 8 * scale),
    ]  # fmt: skip
  return found


def forward(convs: Sequence[Conv], side: int) -> Cost:
  """One picture through convolutions; its bytes, and those below, count numbers of one byte."""
  return _sum(convs, side, arithmetic=1, of_input=1, of_output=1)


def learn(convs: Sequence[Conv], side: int) -> Cost:
  """One picture forward and backward, with the gradients of the parameters."""
  return _sum(convs, side, arithmetic=3, of_input=3, of_output=2)


def look(convs: Sequence[Conv], side: int) -> Cost:
  """One picture forward and backward, through parameters that stay."""
  return _sum(convs, side, arithmetic=2, of_input=2, of_output=2)


def _sum(convs: Sequence[Conv], side: int, arithmetic: int, of_input: int, of_output: int) -> Cost:
  flops = moved = 0.0
  for conv in convs:
    pixels = (side / conv.scale) ** 2
    flops += 2 * arithmetic * conv.kernel**2 * conv.inputs * conv.outputs * pixels
    moved += pixels * (of_input * conv.inputs * conv.stride**2 + of_output * conv.outputs)
  return Cost(flops, moved)


def train_cost(config: Config) -> Cost:
  """The needs of a training step of `batch_size` paired examples and `support_rows` others."""
  architecture, loss, side = config.model, config.loss, config.model.side
  poses = estimator(architecture.estimator_width)
  judge = discriminator(architecture.width, config.discriminator_scales)
  static = encoder(3, 5, 2, architecture.width)
  pose_branch = encoder(len(JOINTS), 3, 1, architecture.width)
  branches = [*pose_branch, *static]
  if architecture.transport != "warp":  # which reads the target's pose, too
    branches += pose_branch
  parts = [learn([*branches, *generator(architecture)], side), learn(poses, side)]
  if loss.adversary:
    parts += [learn(judge, side), learn(judge, side), look(judge, side)]
  if loss.pose or loss.static:
    parts.append(look(poses, side))
  if loss.static:
    parts.append(look(static[:1], side))
  if architecture.pose_input == "estimator":
    reads_answers = loss.pose and loss.pose_reference == "truth"
    parts += [forward(poses, side)] * (2 if reads_answers else 1)
  if architecture.transport == "warp":
    parts.append(Cost(0.0, 3 * 4 * LIMBS * side**2))
  rows = config.batch_size + config.support_rows
  flops, numbers = (sum(getattr(part, name) for part in parts) for name in ("flops", "bytes"))
  return Cost(rows * flops, rows * numbers * ITEM_BYTES["float32"])
