"""The training step in plain PyTorch, for comparison only: a pass per view, one update."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from cfi_jax.benchmark.rivals import torch_losses
from cfi_jax.benchmark.rivals.torch_losses import Pair, Tensors


def make_optimizer(parameters: Sequence[torch.Tensor], options: Mapping) -> torch.optim.Optimizer:
  """Adam with `OptimOptions`, as a dict."""
  betas = (options["b1"], options["b2"])
  fused = parameters[0].device.type == "cuda"
  return torch.optim.Adam(parameters, betas=betas, eps=options["eps"], fused=fused)


def learning_rate(options: Mapping[str, Any], step: int, steps: int) -> float:
  """The learning rate of step `step`, from 0, in a run of `steps`."""
  peak, warmup = options["learning_rate"], options["warmup_steps"]
  if step < warmup:
    return peak * step / warmup
  if options["schedule"] == "constant":
    return peak
  length = max(1, steps - warmup)
  return peak * (1 + math.cos(math.pi * min(step - warmup, length) / length)) / 2


class Update:
  """Adam on parameters with gradients: clipping, the learning rate, a moving average.

  options: "optim" of a config. rate: the learning rate by the number of steps taken.
  """

  def __init__(
    self, parameters: list[torch.Tensor], options: Mapping[str, Any], rate: Callable[[int], float]
  ):
    self.parameters, self.options, self.rate = parameters, options, rate
    self.optimizer = make_optimizer(parameters, options)
    averaged = parameters if options["ema_decay"] else []
    self.average = [p.detach().clone() for p in averaged]
    self.taken = 0

  def __call__(self) -> None:
    """Takes the gradients that the parameters have."""
    if self.options["clip_norm"]:
      torch.nn.utils.clip_grad_norm_(self.parameters, self.options["clip_norm"])
    for group in self.optimizer.param_groups:
      group["lr"] = self.rate(self.taken)
    self.optimizer.step()
    if self.average:
      decay = min(self.options["ema_decay"], (1 + self.taken) / (10 + self.taken))
      with torch.no_grad():
        torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
    self.taken += 1


class Step:
  """One training step on the same views each time; returns losses before the update.

  network: in training mode; every view is a pass of its own. settings: "loss", "optim" and
  "statistics" of a config as nested dicts, and "steps" of the whole run. views: pairs by name, that
  of the batch, "original", first. forward: `network`, maybe compiled. score: the objective, maybe
  compiled. amp: the passes in bfloat16 where autocast says.
  """

  def __init__(
    self,
    network: torch.nn.Module,
    settings: Mapping[str, Any],
    views: Mapping[str, Pair],
    *,
    forward: Callable | None = None,
    score: Callable = torch_losses.objective,
    amp: bool = False,
  ):
    self.settings, self.views, self.amp = settings, views, amp
    self.forward = network if forward is None else forward  # a compiled one has no truth value
    self.score = score
    self.update = Update(
      list(network.parameters()),
      settings["optim"],
      lambda step: learning_rate(settings["optim"], step, settings["steps"]),
    )

  def __call__(self) -> Tensors:
    """Takes the step."""
    self.update.optimizer.zero_grad(set_to_none=True)
    losses = self.score(self.settings["loss"], self.views, *self._fuse())
    losses["loss"].backward()
    self.update()
    return {name: value.detach() for name, value in losses.items()}

  def _fuse(self) -> tuple[Tensors, Tensors]:
    """The fused images of all views, and the mean gates of those whose gates count."""
    statistics, fused, gates, given = self.settings["statistics"], {}, {}, ()
    borrow = statistics["normalise"] == "original" and len(self.views) > 1
    original = self.views["original"][0]
    with torch.autocast(original.device.type, torch.bfloat16, enabled=self.amp):
      for name, pair in self.views.items():
        first = name == "original"
        update = first or statistics["views"] == "all"
        fused[name], levels, moments = self.forward(*pair, given, update, borrow and first)
        given = moments if first else given
        if name in self.settings["loss"]["invariance"]["views"]:
          gates[name] = torch_losses.mean_gate(levels)
    wide = original.dtype
    fused, gates = ({k: v.to(wide) for k, v in x.items()} for x in (fused, gates))
    return fused, gates
