"""The objective and the training step of AMG-Fuse in plain PyTorch, for comparison only."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cfi_jax.benchmark.rivals.torch_amgfuse import Outputs, soft_mask
from cfi_jax.benchmark.rivals.torch_losses import slopes
from cfi_jax.benchmark.rivals.torch_train import Update

Tensors = dict[str, torch.Tensor]


def grey(image: torch.Tensor) -> torch.Tensor:
  """Mean of the channels, [B, 1, H, W]."""
  return image.mean(1, keepdim=True)


def similarity(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
  """Mean SSIM of grey images, a Gaussian window of 11, zeros outside."""
  taps = torch.arange(-5, 6, dtype=x.dtype, device=x.device).square().div(-2 * 1.5**2).exp()
  taps = taps / taps.sum()

  def blur(image: torch.Tensor) -> torch.Tensor:
    return F.conv2d(image, torch.outer(taps, taps)[None, None], padding=5)

  mean_x, mean_y = blur(x), blur(y)
  var_x, var_y = blur(x**2) - mean_x**2, blur(y**2) - mean_y**2
  shared = blur(x * y) - mean_x * mean_y
  luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
  return (luminance * (2 * shared + 9e-4) / (var_x + var_y + 9e-4)).mean()


def chroma(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
  """Cb and Cr of RGB."""
  red, green, blue = image.unbind(1)
  return (
    -0.168736 * red - 0.331264 * green + 0.5 * blue,
    0.5 * red - 0.418688 * green - 0.081312 * blue,
  )


def objective(
  weights: Mapping[str, float], images: Tensors, outputs: Outputs, restore: Callable | None
) -> Tensors:
  """The objective, "loss", and its unweighted terms under our names.

  weights: by term. images: of a scene, [B, 3, H, W], infrared [B, 1, H, W]. restore: the frozen
  network, for `tdas`.
  """
  visible, infrared = images["clean_visible"], images["clean_infrared"]
  pseudo, fused = images["pseudo"], grey(outputs.fused)
  bright, edges = grey(visible), [slopes(grey(visible)), slopes(infrared)]
  share = edges[0].mean() / (edges[0].mean() + edges[1].mean())
  mask = soft_mask(pseudo - infrared, visible - infrared + pseudo + 1e-6)
  pairs = zip(chroma(outputs.fused), chroma(visible), strict=True)
  makers = {
    "intensity": lambda: F.l1_loss(fused, torch.maximum(bright, infrared)),
    "edges": lambda: F.l1_loss(slopes(fused), torch.maximum(*edges)),
    "structure": lambda: (
      1 - share * similarity(bright, fused) - (1 - share) * similarity(infrared, fused)
    ),
    "colour": lambda: sum(F.l1_loss(own, other) for own, other in pairs),
    "mgls": lambda: (
      F.l1_loss(outputs.visible, mask * visible)
      + F.l1_loss(outputs.infrared[:, :1], (1 - mask[:, :1]) * infrared)
    ),
    "tdas": lambda: F.l1_loss(restore(outputs.masked), outputs.masked),
  }
  terms = {name: makers[name]() for name, weight in weights.items() if weight}
  return {"loss": sum(weights[name] * value for name, value in terms.items())} | terms


class Step:
  """One training step on the same scenes each time; returns losses before the update.

  settings: "loss" and "optim" of a config, and "rates", the learning rate of every step. images:
  those of the scenes by name. forward: `network`, maybe compiled. restore: the frozen restoration
  network. amp: the network in bfloat16 where autocast says.
  """

  def __init__(
    self,
    network: nn.Module,
    settings: Mapping[str, Any],
    images: Tensors,
    *,
    forward: Callable | None = None,
    restore: nn.Module | None = None,
    amp: bool = False,
  ):
    self.weights, self.images, self.amp = settings["loss"], images, amp
    self.forward = network if forward is None else forward
    self.restore = None if restore is None else restore.requires_grad_(requires_grad=False)
    rates = settings["rates"]
    self.update = Update(
      list(network.parameters()), settings["optim"], lambda step: rates[min(step, len(rates) - 1)]
    )

  def __call__(self) -> Tensors:
    """Takes the step."""
    self.update.optimizer.zero_grad(set_to_none=True)
    visible, infrared = self.images["visible"], self.images["infrared"]
    with torch.autocast(visible.device.type, torch.bfloat16, enabled=self.amp):
      outputs = self.forward(visible, infrared)
    outputs = Outputs(*(image.to(visible.dtype) for image in outputs))
    losses = objective(self.weights, self.images, outputs, self.restore)
    losses["loss"].backward()
    self.update()
    return {name: value.detach() for name, value in losses.items()}
