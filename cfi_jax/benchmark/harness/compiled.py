"""Common parts of our contenders: a compiled program, and fusing with one."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from cfi_jax.benchmark.harness import machine, roofline
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.engine import memory
from cfi_jax.fusion.types import MODALITIES


class Compiled:
  """A program compiled in `prepare`, and its facts."""

  program: jax.stages.Compiled
  compile_seconds: float
  devices: int = 1

  def facts(self) -> dict[str, float | str | None]:
    """See `spec.Contender`; XLA counts one device's share."""
    cost = roofline.xla_cost(self.program)
    return {
      "device": jax.devices()[0].device_kind,
      "compile_seconds": self.compile_seconds,
      "flops": cost.flops * self.devices if cost else None,
      "bytes": cost.bytes * self.devices if cost else None,
      "device_peak_mb": machine.device_peak_mb(),
      "program_mb": memory.needed(self.program) / 1e6,
    }


class Fuse(Compiled):
  """Fusing; the subclasses say with which graph."""

  def __init__(self, spec: Spec):
    with np.load(spec.file("inputs.npz")) as inputs:
      self.images = [inputs[m] for m in MODALITIES]
    self.resident = spec.resident
    self.arguments: Sequence = ()
    self.from_host: Callable[[], np.ndarray]

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    if not self.resident:
      for _ in range(count):
        self.from_host()
      return
    for _ in range(count):
      result = self.program(*self.arguments)
    jax.block_until_ready(result)

  def output(self) -> dict[str, np.ndarray]:
    """The fused images, float32, in the form of the visible ones."""
    if not self.resident:
      return {"fused": self.from_host()}
    return {"fused": self.from_device(self.program(*self.arguments))}

  def from_device(self, result: jax.Array) -> np.ndarray:
    """The fused images of what the program returns, float32."""
    return np.asarray(result, np.float32)
