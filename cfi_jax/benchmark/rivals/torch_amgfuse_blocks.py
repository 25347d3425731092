"""The blocks of AMG-Fuse in plain PyTorch, for comparison only; names are those of the release."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

STREAMS = ("vi", "ir", "f")


class Streams(NamedTuple):
  """Maps [B, C, H, W] of the visible, the infrared and the fused stream."""

  vi: torch.Tensor
  ir: torch.Tensor
  f: torch.Tensor


def convolution(inputs: int, outputs: int, window: int = 3, groups: int = 1, bias: bool = False):
  """A convolution that keeps the size, zeros outside."""
  return nn.Conv2d(inputs, outputs, window, padding=window // 2, groups=groups, bias=bias)


class Named(nn.Module):
  """A module below one name, as the release has around its convolutions."""

  def __init__(self, **modules: nn.Module):
    super().__init__()
    for name, module in modules.items():
      self.add_module(name, module)


class Residual(nn.Module):
  """x + conv(relu(conv(x)))."""

  def __init__(self, channels: int):
    super().__init__()
    first, second = (convolution(channels, channels, bias=True) for _ in range(2))
    self.block = nn.Sequential(first, nn.ReLU(), second)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    return x + self.block(x)


def stage(channels: int) -> nn.Sequential:
  """relu(Residual(x))."""
  return nn.Sequential(Residual(channels), nn.ReLU())


class Down(nn.Module):
  """Halves the sides and doubles the channels."""

  def __init__(self, channels: int):
    super().__init__()
    self.body = nn.Sequential(convolution(channels, channels // 2), nn.PixelUnshuffle(2))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, 2 C, H/2, W/2]."""
    return self.body(x)


class Up(nn.Module):
  """Doubles the sides and halves the channels."""

  def __init__(self, channels: int):
    super().__init__()
    self.body = nn.Sequential(convolution(channels, 2 * channels), nn.PixelShuffle(2))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B, C/2, 2 H, 2 W]."""
    return self.body(x)


class Norm(nn.Module):
  """LayerNorm over the channels of every pixel."""

  def __init__(self, channels: int):
    super().__init__()
    self.body = nn.LayerNorm(channels)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    return self.body(x.movedim(1, -1)).movedim(-1, 1)


class HistogramAttention(nn.Module):
  """Attention among pixels sorted by value, in two layouts that are multiplied (DHSA)."""

  def __init__(self, channels: int, heads: int):
    super().__init__()
    self.heads = heads
    self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
    self.qkv = convolution(channels, 5 * channels, 1)
    self.qkv_dwconv = convolution(5 * channels, 5 * channels, groups=5 * channels)
    self.project_out = convolution(channels, channels, 1)

  def _bins(self, x: torch.Tensor, strided: bool) -> torch.Tensor:
    """[B, C, N] -> rows [B, heads, C, M]; row (c, s) is a run of pixels, or every heads-th."""
    batch, channels, pixels = x.shape
    length = -(-pixels // self.heads)
    x = F.pad(x, (0, length * self.heads - pixels))
    if strided:
      x = x.view(batch, channels, length, self.heads).transpose(-1, -2)
    return x.reshape(batch, self.heads, channels, length)

  def _attend(self, query, key, value, strided: bool) -> torch.Tensor:
    batch, channels, pixels = value.shape
    query, key, value = (self._bins(x, strided) for x in (query, key, value))
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    weights = (query @ key.transpose(-1, -2) * self.temperature).exp()
    out = (weights / (1 + weights.sum(-1, keepdim=True))) @ value
    if strided:
      out = out.view(batch, channels, self.heads, -1).transpose(-1, -2)
    return out.reshape(batch, channels, -1)[..., :pixels]

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    shape = x.shape
    first, rest = x.chunk(2, 1)
    first, rows = first.sort(dim=2, stable=True)
    first, columns = first.sort(dim=3, stable=True)
    x = self.qkv_dwconv(self.qkv(torch.cat([first, rest], 1)))
    *queries_and_keys, value = x.flatten(2).chunk(5, 1)
    value, order = value.sort(dim=-1, stable=True)
    q1, k1, q2, k2 = (part.gather(-1, order) for part in queries_and_keys)
    x = self._attend(q1, k1, value, False) * self._attend(q2, k2, value, True)
    x = torch.zeros_like(x).scatter(-1, order, x).unflatten(-1, shape[2:])
    first, rest = self.project_out(x).chunk(2, 1)
    first = torch.zeros_like(first).scatter(3, columns, first)
    first = torch.zeros_like(first).scatter(2, rows, first)
    return torch.cat([first, rest], 1)


class Feedforward(nn.Module):
  """Mixes channels between windows of 3x3 and 5x5 (MSFN)."""

  def __init__(self, channels: int):
    super().__init__()
    hidden = int(2.66 * channels)
    self.project_in = convolution(channels, 2 * hidden, 1)
    self.dwconv3x3 = convolution(2 * hidden, 2 * hidden, 3, 2 * hidden)
    self.dwconv5x5 = convolution(2 * hidden, 2 * hidden, 5, 2 * hidden)
    self.dwconv3x3_1 = convolution(2 * hidden, hidden, 3, hidden)
    self.dwconv5x5_1 = convolution(2 * hidden, hidden, 5, hidden)
    self.project_out = convolution(2 * hidden, channels, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    x = self.project_in(x)
    fine, coarse = F.relu(self.dwconv3x3(x)).chunk(2, 1), F.relu(self.dwconv5x5(x)).chunk(2, 1)
    first = F.relu(self.dwconv3x3_1(torch.cat([fine[0], coarse[0]], 1)))
    second = F.relu(self.dwconv5x5_1(torch.cat([fine[1], coarse[1]], 1)))
    return self.project_out(torch.cat([first, second], 1))


class Block(nn.Module):
  """x + attention(norm(x)), then x + feedforward(norm(x))."""

  def __init__(self, channels: int, heads: int):
    super().__init__()
    self.norm1, self.norm2 = Norm(channels), Norm(channels)
    self.attn, self.ffn = HistogramAttention(channels, heads), Feedforward(channels)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Keeps the shape."""
    x = x + self.attn(self.norm1(x))
    return x + self.ffn(self.norm2(x))


def blocks(count: int, channels: int, heads: int) -> nn.Sequential:
  """`count` blocks, one after the other."""
  return nn.Sequential(*(Block(channels, heads) for _ in range(count)))


def encoder(level: int, levels: int) -> str:
  """The name of a level on the way down, from 1."""
  return "latent" if level == levels else f"encoder_level{level}"


def soft_mask(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
  """sigmoid(5 (quotient - 1/2)), the quotient cut to [0, 1]."""
  return torch.sigmoid(5 * ((numerator / denominator).clamp(0, 1) - 0.5))


class Attention(nn.Module):
  """Attention of both modalities' channels over those of the fused stream (CFA)."""

  def __init__(self, channels: int, heads: int, gate: bool):
    super().__init__()
    self.heads = heads
    self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
    for name in ("q_vi", "q_ir"):
      self.add_module(name, convolution(channels, channels, 1))
      local = convolution(channels, channels, groups=channels)
      self.add_module(name.replace("q_", "q_dwconv_"), local)
    self.kv = convolution(channels, 2 * channels, 1)
    self.kv_dwconv = convolution(2 * channels, 2 * channels, groups=2 * channels)
    for stream in STREAMS:
      self.add_module(f"project_out_{stream}", convolution(channels, channels, 1))
    self.se = None
    if gate:
      self.se = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), convolution(2 * channels, channels // 16, 1), nn.ReLU(),
        convolution(channels // 16, 2, 1), nn.Sigmoid(),
      )  # fmt: skip

  def forward(self, vi: torch.Tensor, ir: torch.Tensor, f: torch.Tensor) -> Streams:
    """Updates of the three streams, from masked maps of both modalities."""

    def rows(x: torch.Tensor) -> torch.Tensor:
      return x.reshape(x.shape[0], self.heads, x.shape[1] // self.heads, -1)

    key, value = map(rows, self.kv_dwconv(self.kv(f)).chunk(2, 1))
    key, attended = F.normalize(key, dim=-1), []
    for query in (self.q_dwconv_vi(self.q_vi(vi)), self.q_dwconv_ir(self.q_ir(ir))):
      scores = F.normalize(rows(query), dim=-1) @ key.transpose(-1, -2) * self.temperature
      attended.append((scores.softmax(-1) @ value).view_as(f))
    weights = (1, 1)
    if self.se is not None:
      weights = self.se(torch.cat(attended, 1)).chunk(2, 1)
    both = weights[0] * attended[0] + weights[1] * attended[1]
    return Streams(
      self.project_out_vi(attended[0]), self.project_out_ir(attended[1]), self.project_out_f(both)
    )
