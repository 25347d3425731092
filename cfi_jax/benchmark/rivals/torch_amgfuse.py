"""AMG-Fuse in plain PyTorch, both networks, for comparison only: speed, memory, equality.

Modules have the names of the authors' state dicts, so that `systems.amgfuse.torch_names` finds
them; tensors that their networks never use are not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from cfi_jax.benchmark.rivals.torch_amgfuse_blocks import (
  STREAMS,
  Attention,
  Down,
  Named,
  Residual,
  Streams,
  Up,
  blocks,
  convolution,
  encoder,
  soft_mask,
  stage,
)


class Outputs(NamedTuple):
  """Images [B, 3, H, W]: fused, outputs of both modalities, and the masked visible image."""

  fused: torch.Tensor
  visible: torch.Tensor
  infrared: torch.Tensor
  masked: torch.Tensor


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
