"""The objective of ISFuse in plain PyTorch, all its terms, for comparison only."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

Tensors = dict[str, torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]  # visible and infrared, [B, 1, H, W]
B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
PIXELS = (1, 2, 3)


def laplacian(image: torch.Tensor) -> torch.Tensor:
  """8-neighbour Laplacian, zero padding."""
  kernel = torch.ones(1, 1, 3, 3, dtype=image.dtype, device=image.device)
  kernel[..., 1, 1] = -8
  return F.conv2d(image, kernel, padding=1)


def slopes(image: torch.Tensor) -> torch.Tensor:
  """|d/dx| + |d/dy| of Sobel, zeros outside."""
  across = torch.tensor(SOBEL, dtype=image.dtype, device=image.device)
  kernels = torch.stack([across, across.T.flip(0)])[:, None]
  return F.conv2d(image, kernels, padding=1).abs().sum(1, keepdim=True)


def blur(image: torch.Tensor, taps: tuple[float, ...], spacing: int = 1) -> torch.Tensor:
  """Both axes correlated with the taps, `spacing` pixels apart; borders mirrored."""
  kernel = torch.tensor(taps, dtype=image.dtype, device=image.device)
  reach = len(taps) // 2 * spacing
  image = F.pad(image, (reach,) * 4, mode="reflect")
  image = F.conv2d(image, kernel.view(1, 1, -1, 1), dilation=spacing)
  return F.conv2d(image, kernel.view(1, 1, 1, -1), dilation=spacing)


def planes_of(image: torch.Tensor, count: int) -> tuple[list[torch.Tensor], torch.Tensor]:
  """Wavelet planes of the a trous transform, finest first, and the smooth rest."""
  planes = []
  for level in range(count):
    smooth = blur(image, B3_SPLINE, 2**level)
    planes.append(image - smooth)
    image = smooth
  return planes, image


def intensity(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """mean |F - V| + mean |F - I|."""
  return sum((fused - image).abs().mean() for image in pair)


def gradient(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """mean | |lap F| - max(|lap V|, |lap I|) |."""
  stronger = torch.maximum(*(laplacian(image).abs() for image in pair))
  return (laplacian(fused).abs() - stronger).abs().mean()


def edges(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """mean |S(F) - max(S(V), S(I))|, S the magnitude of `slopes`."""
  return (slopes(fused) - torch.maximum(*(slopes(image) for image in pair))).abs().mean()


def maximum(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """mean |F - max(V, I)|."""
  return (fused - torch.maximum(*pair)).abs().mean()


def structure(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """1 - the mean SSIM with both images."""
  shape = [math.exp(-(x**2) / (2 * 1.5**2)) for x in range(-5, 6)]
  window = tuple(x / sum(shape) for x in shape)

  def similarity(other: torch.Tensor) -> torch.Tensor:
    x, y = blur(fused, window), blur(other, window)
    xx, yy = blur(fused**2, window) - x**2, blur(other**2, window) - y**2
    xy = blur(fused * other, window) - x * y
    luminance = (2 * x * y + 0.01**2) / (x**2 + y**2 + 0.01**2)
    return (luminance * (2 * xy + 0.03**2) / (xx + yy + 0.03**2)).mean()

  return 1 - sum(similarity(image) for image in pair) / 2


def correlation(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """1 - the mean of Pearson's correlations with both images."""

  def pearson(other: torch.Tensor) -> torch.Tensor:
    x, y = (image - image.mean(PIXELS, keepdim=True) for image in (fused, other))
    scale = (x**2).mean(PIXELS) * (y**2).mean(PIXELS)
    return ((x * y).mean(PIXELS) / (scale + 1e-12).sqrt()).mean()

  return 1 - sum(pearson(image) for image in pair) / 2


def detail(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """mean |lap F - gain lap S|, S the source of greater |lap|."""
  visible, infrared = (laplacian(image) for image in pair)
  stronger = torch.where(visible.abs() >= infrared.abs(), visible, infrared)
  return (laplacian(fused) - target["gain"] * stronger).abs().mean()


def multiscale(fused: torch.Tensor, pair: Pair, target: Mapping) -> torch.Tensor:
  """The distance from a fusion by wavelets: of all planes and of the rest."""
  planes, rest = planes_of(fused - wavelet_fusion(pair, target), target["planes"])
  return sum(part.abs().mean() for part in (*planes, rest))


def wavelet_fusion(pair: Pair, target: Mapping) -> torch.Tensor:
  """The target of `multiscale`."""
  first, second = (planes_of(image, target["planes"]) for image in pair)
  means = sum(rest.mean(PIXELS, keepdim=True) for _, rest in (first, second))
  fused = means / 2 + target["spread"] * (first[1] + second[1] - means)
  fused = fused + target["brighter"] * (first[1] - second[1]).abs() / 2
  for visible, infrared in zip(first[0], second[0], strict=True):
    a, b = ((blur(plane.abs(), B3_SPLINE) + 1e-6).log() for plane in (visible, infrared))
    weight = torch.sigmoid(target["exponent"] * (a - b))
    fused = fused + target["gain"] * (weight * visible + (1 - weight) * infrared)
  return fused


TERMS = {
  "intensity": intensity,
  "gradient": gradient,
  "edges": edges,
  "maximum": maximum,
  "structure": structure,
  "correlation": correlation,
  "detail": detail,
  "multiscale": multiscale,
}


def mean_gate(gates: list[torch.Tensor]) -> torch.Tensor:
  """The gates of all levels at full size, averaged."""
  size = gates[0].shape[2:]
  whole = [F.interpolate(g, size, mode="bilinear", align_corners=False) for g in gates[1:]]
  return sum(whole, gates[0]) / len(gates)


def filling(change: torch.Tensor, pair: Pair, treated: Pair) -> torch.Tensor:
  """The mean change over the pixels where the treatment changed one of the two images only."""
  changed = [image != other for image, other in zip(pair, treated, strict=True)]
  inside = (changed[0] ^ changed[1]).to(change.dtype)
  return ((change * inside).sum(PIXELS) / inside.sum(PIXELS).clamp(min=1)).mean()


def objective(
  options: Mapping[str, Any], views: Mapping[str, Pair], fused: Tensors, gates: Tensors
) -> Tensors:
  """The objective, "loss", and its unweighted parts under the names of `isfuse.objective`.

  options: `LossOptions` as nested dicts. gates: mean gates of the views of invariance.
  """
  pair, original, parts = views["original"], fused["original"], {}
  weights: dict[str, float] = {}

  def add(name: str, weight: float, value: torch.Tensor) -> None:
    parts[name], weights[name] = value, weight

  def fusion(name: str) -> Tensors:
    return {k: TERMS[k](fused[name], views[name], options["target"]) for k in options["fusion"]}

  for name, value in fusion("original").items():
    add(name, options["fusion"][name], value)
  terms = options["invariance"]
  for name in terms["views"]:
    gate, alpha = gates[name], terms["weight"] / len(terms["views"])
    p = gate.clamp(1e-6, 1 - 1e-6)
    entropy = -(p * p.log() + (1 - p) * torch.log1p(-p)).mean()
    area = (gate.mean(PIXELS) - terms["area_target"]).abs().mean()
    change = (fused[name] - original).abs()
    add(f"consistency/{name}", alpha * terms["consistency"], (change * gate).mean())
    add(f"area/{name}", alpha * terms["area"], area)
    add(f"entropy/{name}", alpha * terms["entropy"], entropy)
    if terms["filling"]:
      change = (fused[name] - original.detach()).abs()
      add(f"filling/{name}", alpha * terms["filling"], filling(change, pair, views[name]))
  for name in options["necessity"]["views"]:
    difference = (original - fused[name]).abs().mean()
    add(f"necessity/{name}", options["necessity"]["weight"], difference)
  robustness = options["robustness"]
  for name in robustness["views"]:
    value = sum(options["fusion"][k] * term for k, term in fusion(name).items())
    add(f"robustness/{name}", robustness["weight"] / len(robustness["views"]), value)
  return {"loss": sum(weights[name] * parts[name] for name in parts)} | parts
