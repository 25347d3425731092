"""The released training step in plain PyTorch, for comparison only: five passes, one update."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

Tensors = dict[str, torch.Tensor]
Views = dict[str, tuple[torch.Tensor, torch.Tensor]]


def make_views(batch: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> Views:
  """The views of the released objective in the order of its passes.

  batch: "visible", "infrared", [B, 1, H, W]. masks: bool, True = kept, by "VIEW/MODALITY".
  """
  images = (batch["visible"], batch["infrared"])
  views = {"original": images}
  for name in ("complementary", "shared"):
    kept = (masks[f"{name}/visible"], masks[f"{name}/infrared"])
    views[name] = tuple(torch.where(k, i, 0.0) for k, i in zip(kept, images, strict=True))
  visible, infrared = images
  views["without_visible"] = (torch.zeros_like(visible), infrared)
  views["without_infrared"] = (visible, torch.zeros_like(infrared))
  return views


def laplacian(image: torch.Tensor) -> torch.Tensor:
  """8-neighbour Laplacian, zero padding."""
  kernel = torch.ones(1, 1, 3, 3, dtype=image.dtype, device=image.device)
  kernel[..., 1, 1] = -8
  return F.conv2d(image, kernel, padding=1)


def mean_gate(gates: list[torch.Tensor]) -> torch.Tensor:
  """The gates of all levels at full size, averaged."""
  size = gates[0].shape[2:]
  whole = [F.interpolate(g, size, mode="bilinear", align_corners=False) for g in gates[1:]]
  return (gates[0] + sum(whole)) / len(gates)


def objective(
  options: dict,
  images: tuple[torch.Tensor, torch.Tensor],
  fused: Tensors,
  gates: dict[str, torch.Tensor],
) -> Tensors:
  """The objective, "loss", and its unweighted parts under the names of `isfuse.objective`.

  options: `LossOptions` as nested dicts, of the released views. gates: mean gates of masked views.
  """
  visible, infrared = images
  original = fused["original"]
  target = torch.maximum(laplacian(visible).abs(), laplacian(infrared).abs())
  parts = {
    "intensity": (original - visible).abs().mean() + (original - infrared).abs().mean(),
    "gradient": (laplacian(original).abs() - target).abs().mean(),
  }
  total = sum(weight * parts[name] for name, weight in options["fusion"].items())
  terms = options["invariance"]
  for name in ("complementary", "shared"):
    gate = gates[name]
    p = gate.clamp(1e-6, 1 - 1e-6)
    view = {
      "consistency": ((fused[name] - original).abs() * gate).mean(),
      "area": (gate.mean((1, 2, 3)) - terms["area_target"]).abs().mean(),
      "entropy": -(p * p.log() + (1 - p) * torch.log1p(-p)).mean(),
    }
    total = total + terms["weight"] / 2 * sum(terms[k] * value for k, value in view.items())
    parts |= {f"{k}/{name}": value for k, value in view.items()}
  for name in ("without_visible", "without_infrared"):
    parts[f"necessity/{name}"] = (original - fused[name]).abs().mean()
    total = total + options["necessity"]["weight"] * parts[f"necessity/{name}"]
  return {"loss": total} | parts


def make_step(
  network: Callable,
  optimizer: torch.optim.Optimizer,
  options: dict,
  batch: Tensors,
  masks: Tensors,
  *,
  score: Callable = objective,
  amp: bool = False,
) -> Callable[[], Tensors]:
  """One training step on the same batch and masks each time; returns losses before the update.

  network: in training mode, maybe compiled; every view is a pass of its own with its own batch
  statistics. score: `objective`, maybe compiled. amp: the passes in bfloat16 where autocast says.
  """
  device = batch["visible"].device.type

  def step() -> Tensors:
    optimizer.zero_grad(set_to_none=True)
    fused, gates = {}, {}
    with torch.autocast(device, torch.bfloat16, enabled=amp):
      for name, images in make_views(batch, masks).items():
        fused[name], levels = network(*images, with_gates=True)
        if name in ("complementary", "shared"):
          gates[name] = mean_gate(levels)
    wide = batch["visible"].dtype
    fused, gates = ({k: v.to(wide) for k, v in x.items()} for x in (fused, gates))
    losses = score(options, (batch["visible"], batch["infrared"]), fused, gates)
    losses["loss"].backward()
    optimizer.step()
    return {name: value.detach() for name, value in losses.items()}

  return step
