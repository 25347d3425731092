"""ISFuse in plain PyTorch, every architecture of it, for comparison only: speed, memory, equality.

It keeps the layout of the release (NCHW, BatchNorm as a layer, all six projections at full size).
Its modules have the names of our network's, so that `harness.torch_state` finds them.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LEAK = 0.01
Moment = tuple[torch.Tensor, torch.Tensor]  # mean and biased variance of one BatchNorm


class Statistics:
  """The normalisation of one pass in training.

  given: moments of every BatchNorm in the order of the calls; without, the batch's own count.
  update: whether the running statistics follow. keep: whether own moments are wanted afterwards.
  """

  def __init__(self, given: Sequence[Moment], update: bool, keep: bool):
    self.given, self.update, self.keep = given, update, keep
    self.calls = 0
    self.moments: list[Moment] = []


class Norm(nn.BatchNorm2d):
  """BatchNorm whose statistics in training are those that the pass says."""

  def forward(self, x: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Normalises [B, C, H, W]."""
    if not self.training:
      return super().forward(x)
    if statistics.given:
      mean, variance = statistics.given[statistics.calls]
      statistics.calls += 1
      gain = self.weight / (variance + self.eps).sqrt()
      normal = (x - mean[:, None, None]) * gain[:, None, None] + self.bias[:, None, None]
      return normal.to(x.dtype)
    if statistics.keep:
      variance, mean = torch.var_mean(x.to(self.weight.dtype), (0, 2, 3), correction=0)
      statistics.moments.append((mean, variance))
    running = (self.running_mean, self.running_var) if statistics.update else (None, None)
    return F.batch_norm(x, *running, self.weight, self.bias, True, self.momentum, self.eps)


class Block(nn.Module):
  """[3x3 convolution, BatchNorm, LeakyReLU] `depth` times."""

  def __init__(self, inputs: int, outputs: int, padding: str, depth: int = 2):
    super().__init__()
    self.depth = depth
    for i in range(1, depth + 1):
      setattr(self, f"conv{i}", convolution(inputs if i == 1 else outputs, outputs, padding))
      setattr(self, f"norm{i}", Norm(outputs))

  def forward(self, x: torch.Tensor, statistics: Statistics) -> torch.Tensor:
    """Maps [B, inputs, H, W] to [B, outputs, H, W]."""
    for i in range(1, self.depth + 1):
      x = getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x), statistics)
      x = F.leaky_relu(x, LEAK, inplace=True)
    return x


def convolution(inputs: int, outputs: int, padding: str) -> nn.Conv2d:
  """A 3x3 convolution that keeps the size."""
  return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding)


class Encoder(nn.Module):
  """Features of one modality at `levels` sizes, finest first."""

  def __init__(self, channels: int, levels: int, padding: str):
    super().__init__()
    self.levels = levels
    for level in range(1, levels + 1):
      setattr(self, f"level{level}", Block(1 if level == 1 else channels, channels, padding))

  def forward(self, image: torch.Tensor, statistics: Statistics) -> list[torch.Tensor]:
    """Maps [B, 1, H, W] to maps [B, C, H/2^k, W/2^k]."""
    features = [self.level1(image, statistics)]
    for level in range(2, self.levels + 1):
      smaller = F.max_pool2d(features[-1], 2)
      features.append(getattr(self, f"level{level}")(smaller, statistics))
    return features


class CFI(nn.Module):
  """Causal Feature Integrator of one level."""

  def __init__(self, channels: int, grid: int, gate: str, padding: str):
    super().__init__()
    self.grid = grid
    for role, modality in itertools.product(("query", "key", "value"), ("visible", "infrared")):
      setattr(self, f"{role}_{modality}", nn.Conv2d(channels, channels, 1))
    half = channels // 2
    self.gate = Block(channels, half, padding, 1) if gate == "released" else None
    self.gate_head = nn.Conv2d(half, 1, 1) if self.gate else convolution(channels, 1, padding)
    self.refine = Block(channels, channels, padding, 1)

  def _attend(self, query, key, value):
    tokens = [F.adaptive_avg_pool2d(x, self.grid).flatten(2) for x in (key, value)]
    scores = query.flatten(2).transpose(1, 2) @ tokens[0] / query.shape[1] ** 0.5
    attended = scores.softmax(-1) @ tokens[1].transpose(1, 2)
    return attended.transpose(1, 2).reshape(query.shape)

  def forward(
    self, visible: torch.Tensor, infrared: torch.Tensor, statistics: Statistics
  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps two maps [B, C, h, w] to their integration and its gate [B, 1, h, w]."""
    both = self._attend(
      self.query_visible(visible), self.key_infrared(infrared), self.value_infrared(infrared)
    ) + self._attend(
      self.query_infrared(infrared), self.key_visible(visible), self.value_visible(visible)
    )
    hidden = self.gate(both, statistics) if self.gate else both
    gate = torch.sigmoid(self.gate_head(hidden))
    return self.refine(gate * both + (1 - gate) * (visible + infrared), statistics), gate


class TorchISFuse(nn.Module):
  """The network of an architecture (`systems.isfuse.model.architecture`)."""

  def __init__(self, architecture: Mapping[str, Any]):
    super().__init__()
    channels, padding = architecture["features"], architecture["padding"]
    self.levels: int = architecture["levels"]
    self.shared: bool = architecture["shared_encoder"]
    for name in ("encoder",) if self.shared else ("encoder_visible", "encoder_infrared"):
      setattr(self, name, Encoder(channels, self.levels, padding))
    for level in range(1, self.levels + 1):
      cfi = CFI(channels, architecture["grid"], architecture["gate"], padding)
      setattr(self, f"cfi{level}", cfi)
    for level in range(1, self.levels):
      setattr(self, f"decoder{level}", Block(channels, channels, padding))
    self.head = convolution(channels, 1, padding)

  def forward(
    self,
    visible: torch.Tensor,
    infrared: torch.Tensor,
    given: Sequence[Moment] = (),
    update: bool = True,
    keep: bool = False,
  ) -> tuple[torch.Tensor, list[torch.Tensor], list[Moment]]:
    """Fuses a batch [B, 1, H, W] in [0, 1]; (fused, gates, finest level first, kept moments).

    given, update, keep: see `Statistics`; they matter in training only.
    """
    statistics = Statistics(given, update, keep)
    names = ("encoder", "encoder") if self.shared else ("encoder_visible", "encoder_infrared")
    features = [
      getattr(self, name)(image, statistics)
      for name, image in zip(names, (visible, infrared), strict=True)
    ]
    mixed, gates = [], []
    for i, pair in enumerate(zip(*features, strict=True), start=1):
      both, gate = getattr(self, f"cfi{i}")(*pair, statistics)
      mixed.append(both)
      gates.append(gate)
    x = mixed[-1]
    for level in reversed(range(1, self.levels)):
      skip = mixed[level - 1]
      x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False) + skip
      x = getattr(self, f"decoder{level}")(x, statistics)
    return torch.sigmoid(self.head(x)), gates, statistics.moments


def from_state(
  state: Mapping[str, np.ndarray], architecture: Mapping[str, Any], momentum: float = 0.9
) -> TorchISFuse:
  """The network with the arrays of `torch_state.to_state`, in their dtype, in evaluation mode.

  momentum: the share of the old value that the running statistics keep.
  """
  tensors = {name: torch.tensor(array) for name, array in state.items()}
  model = TorchISFuse(architecture).to(tensors["head.weight"].dtype).eval()
  counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
  model.load_state_dict(tensors | counters, strict=True)
  for module in model.modules():
    if isinstance(module, Norm):
      module.momentum = 1 - momentum
  return model
