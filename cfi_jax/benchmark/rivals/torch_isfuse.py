"""The released network in plain PyTorch, for comparison only: speed, memory and equality.

It keeps the layout of the release (NCHW, BatchNorm as a layer, all six projections at full size),
and its parameters carry the release's names, so a state dict loads with `strict=True`.
"""

import collections

import torch
import torch.nn.functional as F
from torch import nn

LEAK = 0.01


def block(inputs: int, outputs: int, depth: int = 2) -> nn.Sequential:
  """[3x3 convolution, BatchNorm, LeakyReLU] `depth` times."""
  layers = []
  for i in range(depth):
    layers += [
      nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1),
      nn.BatchNorm2d(outputs),
      nn.LeakyReLU(LEAK, inplace=True),
    ]
  return nn.Sequential(*layers)


class Encoder(nn.Module):
  """Features of one modality at three sizes, finest first."""

  def __init__(self, channels: int):
    super().__init__()
    self.module1 = block(1, channels)
    self.module2 = block(channels, channels)
    self.module3 = block(channels, channels)

  def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
    """Maps [B, 1, H, W] to three maps [B, C, H/2^k, W/2^k]."""
    features = [self.module1(image)]
    for module in (self.module2, self.module3):
      features.append(module(F.max_pool2d(features[-1], 2)))
    return features


class CFI(nn.Module):
  """Causal Feature Integrator of one level."""

  def __init__(self, channels: int, grid: int):
    super().__init__()
    self.grid = grid
    for name in ("q_v", "k_v", "v_v", "q_i", "k_i", "v_i"):
      setattr(self, name, nn.Conv2d(channels, channels, 1))
    half = channels // 2
    self.gate = nn.Sequential(*block(channels, half, 1), nn.Conv2d(half, 1, 1))
    self.refine = block(channels, channels, 1)

  def _attend(self, query, key, value):
    tokens = [F.adaptive_avg_pool2d(x, self.grid).flatten(2) for x in (key, value)]
    scores = query.flatten(2).transpose(1, 2) @ tokens[0] / query.shape[1] ** 0.5
    attended = scores.softmax(-1) @ tokens[1].transpose(1, 2)
    return attended.transpose(1, 2).reshape(query.shape)

  def forward(
    self, visible: torch.Tensor, infrared: torch.Tensor
  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps two maps [B, C, h, w] to their integration and its gate [B, 1, h, w]."""
    complementary = self._attend(self.q_v(visible), self.k_i(infrared), self.v_i(infrared))
    complementary = complementary + self._attend(
      self.q_i(infrared), self.k_v(visible), self.v_v(visible)
    )
    gate = torch.sigmoid(self.gate(complementary))
    return self.refine(gate * complementary + (1 - gate) * (visible + infrared)), gate


class TorchISFuse(nn.Module):
  """The released network without the tensors its forward pass never uses."""

  def __init__(self, channels: int = 32, grid: int = 8):
    super().__init__()
    self.encoder_vis, self.encoder_ir = Encoder(channels), Encoder(channels)
    self.cfi3, self.cfi4, self.cfi5 = (CFI(channels, grid) for _ in range(3))
    self.adjust_channels4, self.adjust_channels5 = (block(channels, channels) for _ in range(2))
    self.final_decoder = nn.Sequential(nn.Conv2d(channels, 1, 3, padding=1))

  def forward(
    self, visible: torch.Tensor, infrared: torch.Tensor, with_gates: bool = False
  ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
    """Fuses a batch [B, 1, H, W] in [0, 1]; `with_gates` adds those of the levels, finest first."""
    features = zip(self.encoder_vis(visible), self.encoder_ir(infrared), strict=True)
    integrators = (self.cfi5, self.cfi4, self.cfi3)
    both = [cfi(*f) for cfi, f in zip(integrators, features, strict=True)]
    mixed, gates = ([pair[i] for pair in both] for i in range(2))
    x = mixed[2]
    for skip, decoder in ((mixed[1], self.adjust_channels4), (mixed[0], self.adjust_channels5)):
      x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False) + skip
      x = decoder(x)
    fused = torch.sigmoid(self.final_decoder(x))
    return (fused, gates) if with_gates else fused


def from_state(state: dict, grid: int = 8) -> TorchISFuse:
  """The network with a state dict of numpy arrays, in their dtype, in evaluation mode."""
  tensors = collections.OrderedDict((k, torch.tensor(v)) for k, v in state.items())
  last = tensors["final_decoder.0.weight"]
  model = TorchISFuse(last.shape[1], grid).to(last.dtype).eval()
  counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
  model.load_state_dict(tensors | counters, strict=True)
  return model
