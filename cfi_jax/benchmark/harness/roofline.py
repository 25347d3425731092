"""Measured memory bandwidth and arithmetic rate of a device, and XLA's own counting."""

import dataclasses
import statistics
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.timing import timed

REPEATS = 15
# Array size in MB of the bandwidth, side of the matrices of the rate.
SIZES = {"cpu": (256, 2048)}
ACCELERATOR_SIZES = (1024, 8192)


@dataclasses.dataclass(frozen=True)
class Roofline:
  """bandwidth: bytes per second. rate: FLOPs per second of a matrix product in `dtype`.

  Both are those of one device; `devices` of them work at once.
  """

  bandwidth: float
  rate: float
  dtype: str
  devices: int

  def seconds(self, cost: Cost) -> float:
    """The least time that the work can take: bytes or FLOPs, whichever lasts longer."""
    return max(cost.bytes / self.bandwidth, cost.flops / self.rate) / self.devices

  def bound(self, cost: Cost) -> str:
    """The limit of the work."""
    by_memory = cost.bytes / self.bandwidth >= cost.flops / self.rate
    return "memory" if by_memory else "arithmetic"


def measure(dtype: str, devices: int, options: SimpleNamespace) -> Roofline:
  """Measures the first device; run while nothing else does."""
  sizes = SIZES.get(jax.default_backend(), ACCELERATOR_SIZES)
  megabytes = options.floor_mb or sizes[0]
  return Roofline(bandwidth(megabytes), rate(dtype, options.floor_side or sizes[1]), dtype, devices)


def bandwidth(megabytes: float) -> float:
  """Bytes per second of a = a / 2 + b on float32 arrays of that size: two read, one written.

  In place, so that fresh pages are no part of it.
  """
  count = max(1, int(megabytes * 1e6 / 4))
  step = jax.jit(lambda a, b: a / 2 + b, donate_argnums=0)
  a, b = jnp.zeros(count), jnp.ones(count)
  seconds = []
  for _ in range(REPEATS + 2):
    a, taken = timed(lambda a=a: jax.block_until_ready(step(a, b)))
    seconds.append(taken)
  return 3 * 4 * count / statistics.median(seconds[2:])


def rate(dtype: str, side: int) -> float:
  """FLOPs per second of a square matrix product at the default precision (TF32 on such GPUs)."""
  product = jax.jit(jnp.matmul)
  a = jax.random.normal(jax.random.key(0), (side, side), jnp.dtype(dtype))
  seconds = [timed(lambda: jax.block_until_ready(product(a, a)))[1] for _ in range(REPEATS + 2)]
  return 2.0 * side**3 / statistics.median(seconds[2:])


def xla_cost(compiled: jax.stages.Compiled) -> Cost | None:
  """FLOPs and bytes of a compiled program as XLA counts them; None where it does not.

  It counts nothing of native kernels.
  """
  if 'custom_call_target="cfi_' in compiled.as_text():
    return None
  analysis = compiled.cost_analysis()
  if not analysis or "flops" not in analysis or "bytes accessed" not in analysis:
    return None
  return Cost(float(analysis["flops"]), float(analysis["bytes accessed"]))
