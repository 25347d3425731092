"""The PyTorch contenders of `fuse` and `train`; imports no JAX."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.rivals import (
  torch_amgfuse,
  torch_amgfuse_train,
  torch_isfuse,
  torch_losses,
  torch_train,
)


@dataclasses.dataclass(frozen=True)
class Variant:
  """Settings of PyTorch.

  tf32: products of float32 in TF32 where a GPU has it. amp: autocast to bfloat16.
  channels_last: memory layout. compiled: torch.compile.
  """

  tf32: bool = True
  amp: bool = False
  channels_last: bool = False
  compiled: bool = False


VARIANTS = {
  "train": {
    "torch_eager": Variant(tf32=False),
    "torch_tf32": Variant(),
    "torch_amp": Variant(amp=True),
    "torch_channels_last": Variant(channels_last=True),
    "torch_compile": Variant(compiled=True),
    "torch_all": Variant(amp=True, channels_last=True, compiled=True),
  },
  "fuse": {
    "torch_eager": Variant(),
    "torch_compile": Variant(channels_last=True, compiled=True),
  },
}


@dataclasses.dataclass(frozen=True)
class Rival:
  """A system in PyTorch.

  network: of a state dict and the task's settings. fused: the fused images [B, C, H, W] among what
  the network returns. step: the training step of a contender, with its network and its files.
  """

  network: Callable[[Mapping[str, np.ndarray], Mapping[str, Any]], nn.Module]
  fused: Callable[[Any], torch.Tensor]
  step: Callable[["TorchTrain"], Callable[[], dict[str, torch.Tensor]]]


def isfuse_step(own: "TorchTrain") -> torch_train.Step:
  """The step of ISFuse on the views of the file."""
  views: dict[str, torch_losses.Pair] = {}
  for name in ("original", *own.settings["views"]):
    images = (own.inputs[f"{name}/{m}"] for m in ("visible", "infrared"))
    views[name] = tuple(own.to_device(image) for image in images)
  return torch_train.Step(
    own.network, own.settings, views, forward=own.maybe_compiled(own.network),
    score=own.maybe_compiled(torch_losses.objective), amp=own.variant.amp,
  )  # fmt: skip


def amgfuse_step(own: "TorchTrain") -> torch_amgfuse_train.Step:
  """The step of AMG-Fuse on the scenes of the file."""
  images = {name: own.to_device(image) for name, image in own.inputs.items()}
  restore = None
  if own.settings["loss"].get("tdas"):
    restore = own.load("frozen.npz", {"model": own.settings["restoration"]})
  return torch_amgfuse_train.Step(
    own.network, own.settings, images, forward=own.maybe_compiled(own.network), restore=restore,
    amp=own.variant.amp,
  )  # fmt: skip


RIVALS = {
  "isfuse": Rival(
    lambda state, settings: torch_isfuse.from_state(state, settings["model"], settings["momentum"]),
    lambda outputs: outputs[0],
    isfuse_step,
  ),
  "amgfuse": Rival(
    lambda state, settings: torch_amgfuse.from_state(state, settings["model"]).eval(),
    lambda outputs: outputs.fused.clamp(0, 1),
    amgfuse_step,
  ),
}


class _Torch:
  """Common part of both tasks: the network with its weights on the device, laid out as asked."""

  def __init__(self, spec: Spec):
    self.variant = VARIANTS["fuse" if spec.task == "fuse" else "train"][spec.name]
    self.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.benchmark = True  # sizes never change
    self.spec, self.settings = spec, json.loads(spec.file("settings.json").read_text())
    self.rival = RIVALS[self.settings["system"]]
    with np.load(spec.file("inputs.npz")) as inputs:
      self.inputs = dict(inputs)
    self.dtype = getattr(torch, spec.dtype)
    self.layout = torch.channels_last if self.variant.channels_last else torch.contiguous_format
    self.network = self.load("state.npz", self.settings)
    self.compile_seconds: float | None = None

  def load(self, file: str, settings: Mapping[str, Any]) -> nn.Module:
    """A network of the task's files on the device, laid out as asked."""
    with np.load(self.spec.file(file)) as state:
      network = self.rival.network(dict(state), settings)
    return network.to(self.device, self.dtype).to(memory_format=self.layout)

  def maybe_compiled(self, function: Callable) -> Callable:
    """The function, compiled where the contender does so."""
    return torch.compile(function) if self.variant.compiled else function

  def to_device(self, image: np.ndarray) -> torch.Tensor:
    """[B, H, W] or [B, H, W, C] as [B, C, H, W] on the device."""
    image = image[..., None] if image.ndim == 3 else image
    tensor = torch.from_numpy(image).permute(0, 3, 1, 2).to(self.device, self.dtype)
    return tensor.contiguous(memory_format=self.layout)

  def first(self, function: Callable) -> object:
    """A first call, in which torch.compile compiles."""
    began = time.perf_counter()
    result = function()
    self.wait()
    if self.variant.compiled:
      self.compile_seconds = time.perf_counter() - began
    return result

  def wait(self) -> None:
    """Until the device has finished."""
    if self.device == "cuda":
      torch.cuda.synchronize()

  def facts(self) -> dict[str, float | str | None]:
    """See `spec.Contender`."""
    device = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"
    peak = torch.cuda.max_memory_allocated() / 1e6 if self.device == "cuda" else None
    return {
      "device": device, "compile_seconds": self.compile_seconds, "flops": None, "bytes": None,
      "device_peak_mb": peak, "program_mb": None,
    }  # fmt: skip


class TorchFuse(_Torch):
  """The network in evaluation mode."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    self.resident = spec.resident
    self.images = [self.inputs[m] for m in ("visible", "infrared")]
    self.tensors = [self.to_device(image) for image in self.images] if spec.resident else []
    self.call = self.maybe_compiled(self.network)

  def prepare(self) -> None:
    """Runs once."""
    self.first(self._fuse)

  def _fuse(self) -> torch.Tensor:
    with torch.inference_mode():
      tensors = self.tensors or [self.to_device(image) for image in self.images]
      fused = self.rival.fused(self.call(*tensors))
      return fused if self.resident else fused.float().cpu()

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    for _ in range(count):
      self._fuse()
    self.wait()

  def output(self) -> dict[str, np.ndarray]:
    """The fused images in the form of the visible ones."""
    fused = self._fuse().float().cpu().permute(0, 2, 3, 1).numpy()
    return {"fused": fused.reshape(self.images[0].shape)}


class TorchTrain(_Torch):
  """A training step on a batch that is on the device."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    self.network.train()
    self.step = self.rival.step(self)
    self.losses: dict[str, torch.Tensor] = {}

  def prepare(self) -> None:
    """Takes the first step."""
    self.losses = self.first(self.step)

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    for _ in range(count):
      self.step()
    self.wait()

  def output(self) -> dict[str, np.ndarray]:
    """The losses of the first step."""
    return {name: value.double().cpu().numpy() for name, value in self.losses.items()}


class TorchGradients(TorchTrain):
  """The gradient of that step."""

  def output(self) -> dict[str, np.ndarray]:
    """The gradient by name, and the "loss"."""
    named = self.network.named_parameters()
    gradients = {name: parameter.grad.double().cpu().numpy() for name, parameter in named}
    return gradients | {"loss": self.losses["loss"].double().cpu().numpy()}


TASKS = {"fuse": TorchFuse, "train": TorchTrain, "gradients": TorchGradients}


def make(spec: Spec) -> Contender:
  """The contender of that name (see `VARIANTS`)."""
  return TASKS[spec.task](spec)
