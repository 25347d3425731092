"""AMG-Fuse in plain PyTorch, both networks, for comparison only: speed, memory, equality.

Modules have the names of the authors' state dicts, so that `systems.amgfuse.torch_names` finds
them; tensors that their networks never use are not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STREAMS = ("vi", "ir", "f")


class Streams(NamedTuple):
  """Maps [B, C, H, W] of the visible, the infrared and the fused stream."""

  vi: torch.Tensor
  ir: torch.Tensor
  f: torch.Tensor


class Outputs(NamedTuple):
  """Images [B, 3, H, W]: fused, outputs of both modalities, and the masked visible image."""

  fused: torch.Tensor
  visible: torch.Tensor
  infrared: torch.Tensor
  masked: torch.Tensor


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


class AMGFuse(nn.Module):
  """The fusion network of an architecture (`systems.amgfuse.model.architecture`)."""

  def __init__(self, architecture: Mapping[str, Any]):
    super().__init__()
    width, counts, heads = (architecture[k] for k in ("width", "blocks", "heads"))
    self.levels, self.mask = len(counts), architecture["mask"]
    self.masked_by: str = architecture["masked_by"]
    self.add_module("patch_embed_vi", Named(proj=convolution(3, width)))
    self.add_module("patch_embed_ir", Named(proj=convolution(1, width)))
    for stream in STREAMS[:2]:
      self.add_module(f"{encoder(1, self.levels)}_{stream}", stage(width))
    for level in range(2, self.levels + 1):
      channels = width * 2 ** (level - 1)
      self._stages(encoder(level, self.levels), channels, counts[level - 1], heads[level - 1])
      for stream in STREAMS:
        self.add_module(f"down{level - 1}_{level}_{stream}", Down(channels // 2))
        self.add_module(f"up{level}_{level - 1}_{stream}", Up(channels))
    for level in range(1, self.levels):
      channels = width * 2 ** max(1, level - 1)
      self._stages(f"decoder_level{level}", channels, counts[level - 1], heads[level - 1])
      for stream in STREAMS if level > 1 else ():
        name = f"reduce_chan_level{level}_{stream}"
        self.add_module(name, convolution(2 * channels, channels, 1))
    last = width * (2 if self.levels > 1 else 1)
    self._stages("refinement", last, architecture["refinement"], heads[0])
    for stream in STREAMS:
      self.add_module(f"output_{stream}", convolution(last, 3))
    levels = [*range(1, self.levels + 1), *range(self.levels - 1, 0, -1)]
    widths = [width * 2 ** (level - 1) for level in levels]
    widths[self.levels :] = [max(w, 2 * width) for w in widths[self.levels :]]
    self.mask_processors, self.CA_processors = nn.ModuleList(), nn.ModuleList()
    for channels, level in zip(widths, levels, strict=True):
      attention = Attention(channels, heads[level - 1], architecture["gate"])
      self.CA_processors.append(attention)
      if self.mask:
        self.mask_processors.append(nn.Sequential(Residual(channels), nn.Sigmoid()))

  def _stages(self, name: str, channels: int, count: int, heads: int) -> None:
    for stream in STREAMS[:2]:
      self.add_module(f"{name}_{stream}", stage(channels))
    self.add_module(f"{name}_f", blocks(count, channels, heads))

  def _each(self, name: str, streams: Sequence[torch.Tensor]) -> Streams:
    parts = (self.get_submodule(f"{name}_{stream}") for stream in STREAMS)
    return Streams(*(part(x) for part, x in zip(parts, streams, strict=True)))

  def _couple(self, number: int, streams: Streams) -> Streams:
    vi, ir, f = streams
    if self.mask:
      mask = self.mask_processors[number](soft_mask(f - ir, vi - ir + f + 1e-8))
      vi, ir = mask * vi, (1 - mask) * ir
    updates = self.CA_processors[number](vi, ir, f)
    return Streams(*(x + update for x, update in zip(streams, updates, strict=True)))

  def forward(self, visible: torch.Tensor, infrared: torch.Tensor) -> Outputs:
    """Fuses degraded images [B, 3, H, W] and [B, 1, H, W] in [0, 1]."""
    name = encoder(1, self.levels)
    vi = self.get_submodule(f"{name}_vi")(self.patch_embed_vi.proj(visible))
    ir = self.get_submodule(f"{name}_ir")(self.patch_embed_ir.proj(infrared))
    streams = self._couple(0, Streams(vi, ir, vi + ir))
    skips, number = [streams], 0
    for level in range(2, self.levels + 1):
      number += 1
      streams = self._each(f"down{level - 1}_{level}", streams)
      streams = self._couple(number, self._each(encoder(level, self.levels), streams))
      skips.append(streams)
    for level in range(self.levels - 1, 0, -1):
      number += 1
      streams = self._each(f"up{level + 1}_{level}", streams)
      joined = zip(streams, skips[level - 1], strict=True)
      streams = Streams(*(torch.cat(both, 1) for both in joined))
      if level > 1:
        streams = self._each(f"reduce_chan_level{level}", streams)
      streams = self._couple(number, self._each(f"decoder_level{level}", streams))
    of_visible, of_infrared, fused = self._each("output", self._each("refinement", streams))
    subtracted = visible if self.masked_by == "visible" else infrared
    mask = soft_mask(fused - subtracted, visible - infrared + fused + 1e-8)
    return Outputs(fused, of_visible, of_infrared, mask * visible)


class Restoration(nn.Module):
  """The restoration network of an architecture."""

  def __init__(self, architecture: Mapping[str, Any]):
    super().__init__()
    width, counts, heads = (architecture[k] for k in ("width", "blocks", "heads"))
    self.levels = len(counts)
    self.patch_embed = Named(proj=convolution(3, width))
    for level, (count, own) in enumerate(zip(counts, heads, strict=True), start=1):
      channels = width * 2 ** (level - 1)
      self.add_module(encoder(level, self.levels), blocks(count, channels, own))
      if level == self.levels:
        break
      wide = channels * (2 if level == 1 else 1)
      self.add_module(f"decoder_level{level}", blocks(count, wide, own))
      self.add_module(f"down{level}_{level + 1}", Down(channels))
      self.add_module(f"up{level + 1}_{level}", Up(2 * channels))
      if level > 1:
        self.add_module(f"reduce_chan_level{level}", convolution(2 * channels, channels, 1))
    last = width * (2 if self.levels > 1 else 1)
    self.refinement = blocks(architecture["refinement"], last, heads[0])
    self.output = convolution(last, 3)

  def forward(self, image: torch.Tensor) -> torch.Tensor:
    """Restores images [B, 3, H, W]."""
    x, skips = self.patch_embed.proj(image), []
    for level in range(1, self.levels):
      x = self.get_submodule(f"encoder_level{level}")(x)
      skips.append(x)
      x = self.get_submodule(f"down{level}_{level + 1}")(x)
    x = self.latent(x)
    for level in range(self.levels - 1, 0, -1):
      x = torch.cat([self.get_submodule(f"up{level + 1}_{level}")(x), skips[level - 1]], 1)
      if level > 1:
        x = self.get_submodule(f"reduce_chan_level{level}")(x)
      x = self.get_submodule(f"decoder_level{level}")(x)
    return image + self.output(self.refinement(x))


NETWORKS = {"amgfuse": AMGFuse, "restoration": Restoration}


def from_state(state: Mapping[str, np.ndarray], architecture: Mapping[str, Any]) -> nn.Module:
  """The network with the arrays of `torch_names.to_torch`, in their dtype."""
  tensors = {name: torch.tensor(array) for name, array in state.items()}
  network = NETWORKS[architecture["name"]](architecture)
  network.to(next(iter(tensors.values())).dtype).load_state_dict(tensors, strict=True)
  return network
