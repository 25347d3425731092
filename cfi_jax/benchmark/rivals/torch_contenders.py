"""The PyTorch contenders of `fuse` and `train`; imports no JAX."""

import dataclasses
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.rivals import torch_losses, torch_train
from cfi_jax.benchmark.rivals.torch_isfuse import TorchISFuse, from_state


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


class _Torch:
  """Common part of both tasks: the network with its weights on the device, laid out as asked."""

  def __init__(self, spec: Spec):
    self.variant = VARIANTS["fuse" if spec.task == "fuse" else "train"][spec.name]
    self.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.benchmark = True  # sizes never change
    self.settings = json.loads(spec.file("settings.json").read_text())
    with np.load(spec.file("inputs.npz")) as inputs:
      self.inputs = dict(inputs)
    with np.load(spec.file("state.npz")) as state:
      network = from_state(dict(state), self.settings["model"], self.settings["momentum"])
    self.dtype = getattr(torch, spec.dtype)
    self.layout = torch.channels_last if self.variant.channels_last else torch.contiguous_format
    self.network: TorchISFuse = network.to(self.device, self.dtype).to(memory_format=self.layout)
    self.compile_seconds: float | None = None

  def to_device(self, image: np.ndarray) -> torch.Tensor:
    """[B, H, W] as [B, 1, H, W] on the device."""
    tensor = torch.from_numpy(image)[:, None].to(self.device, self.dtype)
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
    self.call = torch.compile(self.network) if self.variant.compiled else self.network

  def prepare(self) -> None:
    """Runs once."""
    self.first(self._fuse)

  def _fuse(self) -> torch.Tensor:
    with torch.inference_mode():
      tensors = self.tensors or [self.to_device(image) for image in self.images]
      fused = self.call(*tensors)[0]
      return fused if self.resident else fused[:, 0].float().cpu()

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    for _ in range(count):
      self._fuse()
    self.wait()

  def output(self) -> dict[str, np.ndarray]:
    """The fused images [B, H, W]."""
    fused = self._fuse()
    return {"fused": (fused[:, 0] if self.resident else fused).float().cpu().numpy()}


class TorchTrain(_Torch):
  """A training step on a batch that is on the device."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    views: dict[str, torch_losses.Pair] = {}
    for name in ("original", *self.settings["views"]):
      images = (self.inputs[f"{name}/{m}"] for m in ("visible", "infrared"))
      views[name] = tuple(self.to_device(image) for image in images)
    compiled = torch.compile if self.variant.compiled else lambda function: function
    self.step = torch_train.Step(
      self.network.train(), self.settings, views, forward=compiled(self.network),
      score=compiled(torch_losses.objective), amp=self.variant.amp,
    )  # fmt: skip
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
