"""The PyTorch contenders of `fuse` and `train`; imports no JAX."""

import dataclasses
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.rivals import torch_train
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
    self.variant = VARIANTS[spec.task][spec.name]
    self.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.allow_tf32 = self.variant.tf32
    torch.backends.cudnn.benchmark = True  # sizes never change
    self.settings = json.loads(spec.file("settings.json").read_text())
    with np.load(spec.file("state.npz")) as state:
      network = from_state(dict(state), self.settings["grid"])
    self.dtype = getattr(torch, spec.dtype)
    self.layout = torch.channels_last if self.variant.channels_last else torch.contiguous_format
    self.network: TorchISFuse = network.to(self.device, self.dtype).to(memory_format=self.layout)
    self.compile_seconds: float | None = None

  def load(self, spec: Spec) -> dict[str, np.ndarray]:
    """The arrays that the task made."""
    with np.load(spec.file("inputs.npz")) as arrays:
      return dict(arrays)

  def to_device(self, image: np.ndarray) -> torch.Tensor:
    """[B, H, W] as [B, 1, H, W] on the device; masks stay bool."""
    tensor = torch.from_numpy(image)[:, None].to(self.device)
    tensor = tensor if tensor.dtype == torch.bool else tensor.to(self.dtype)
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

  def facts(self) -> dict[str, float | None]:
    """See `spec.Contender`."""
    peak = torch.cuda.max_memory_allocated() / 1e6 if self.device == "cuda" else None
    return {
      "compile_seconds": self.compile_seconds, "flops": None, "bytes": None, "device_peak_mb": peak,
      "program_mb": None,
    }  # fmt: skip


class TorchFuse(_Torch):
  """The network in evaluation mode."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    self.resident = spec.resident
    arrays = self.load(spec)
    self.images = [arrays[m] for m in ("visible", "infrared")]
    self.tensors = [self.to_device(image) for image in self.images] if spec.resident else []
    self.call = torch.compile(self.network) if self.variant.compiled else self.network

  def prepare(self) -> None:
    """Runs once."""
    self.first(self._fuse)

  def _fuse(self) -> torch.Tensor:
    with torch.inference_mode():
      tensors = self.tensors or [self.to_device(image) for image in self.images]
      fused = self.call(*tensors)
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
    arrays = {name: self.to_device(array) for name, array in self.load(spec).items()}
    options = self.settings["optim"]
    optimizer = torch.optim.Adam(
      self.network.train().parameters(), lr=options["learning_rate"],
      betas=(options["b1"], options["b2"]), eps=options["eps"], fused=self.device == "cuda",
    )  # fmt: skip
    compiled = torch.compile if self.variant.compiled else lambda function: function
    self.step = torch_train.make_step(
      compiled(self.network), optimizer, self.settings["loss"], arrays, arrays,
      score=compiled(torch_train.objective), amp=self.variant.amp,
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


TASKS = {"fuse": TorchFuse, "train": TorchTrain}


def make(spec: Spec) -> Contender:
  """The contender of that name (see `VARIANTS`)."""
  return TASKS[spec.task](spec)
