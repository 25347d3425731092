"""Operations on maps [B, H, W, C] in float32 by kernels in C++, for CPUs."""

import dataclasses
import functools
import logging
import math

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.native import functions
from cfi_jax.systems.isfuse.operations.plain import Direction, Moments, Plain

DEVICES = functions.Devices(sharding.total, sharding.count, sharding.moments)


def reason(dtype: jnp.dtype, channels: int) -> str:
  """The reason why the kernels do not take maps of that dtype and width here; "" where they do."""
  if (platform := sharding.platform()) != "cpu":
    return f"the program is for {platform}, not for a CPU"
  if jnp.dtype(dtype) != jnp.float32:
    return f"maps are {jnp.dtype(dtype).name}, not float32"
  if channels > 1 and channels % 4:
    return f"maps have {channels} channels, neither 1 nor a multiple of 4"
  return functions.why_not()


@functools.cache
def _say(operation: str, why: str) -> None:
  logging.warning("native kernels leave %s to plain JAX: %s", operation, why)


@dataclasses.dataclass(frozen=True)
class Native(Plain):
  """Every operation as one function with its own gradient, see `cfi_jax.native.functions`.

  What the kernels do not take (another dtype, number of channels or platform, no compiler) is
  computed as `Plain` does, which one line says.
  """

  def _takes(self, operation: str, *maps: Array) -> bool:
    """Says whether the kernels take these maps."""
    wrong = {reason(x.dtype, x.shape[-1]) for x in maps} - {""}
    for why in sorted(wrong):
      _say(operation, why)
    return not wrong

  def block(
    self, x: Array, kernel: Array, bias: Array, scale: Array, offset: Array, given: Moments | None
  ) -> tuple[Array, Moments]:
    """See `Plain.block`."""
    if not self._takes("block", x, jax.ShapeDtypeStruct(kernel.shape, x.dtype)):
      return super().block(x, kernel, bias, scale, offset, given)
    parameters = _single(kernel, bias, scale, offset)
    if given is None:
      z, mean, var = functions.block(x, *parameters, self.padding, DEVICES)
      return z, (mean, var)
    return functions.block_given(x, *parameters, *_single(*given), self.padding), given

  def halve(self, x: Array) -> Array:
    """See `Plain.halve`."""
    return functions.halve(x) if self._takes("halve", x) else super().halve(x)

  def grid(self, x: Array, side: int) -> Array:
    """See `Plain.grid`."""
    return functions.grid_mean(x, side) if self._takes("grid", x) else super().grid(x, side)

  def attend(
    self, visible: Array, infrared: Array, directions: tuple[Direction, Direction]
  ) -> Array:
    """See `Plain.attend`; queries are not computed, as their projection is folded into the keys."""
    if not self._takes("attend", visible, infrared):
      return super().attend(visible, infrared, directions)
    arguments: list[Array] = []
    for x, (kernel, bias, key, value) in zip((visible, infrared), directions, strict=True):
      share = 1 / math.sqrt(x.shape[-1])
      kernel, bias = _single(kernel, bias)
      exact = jax.lax.Precision.HIGHEST
      arguments.append(x.reshape(x.shape[0], -1, x.shape[-1]))
      arguments.append(jnp.matmul(key, kernel.T, precision=exact) * share)
      arguments.append(jnp.matmul(key, bias, precision=exact) * share)
      arguments.append(value)
    attended = functions.attend(*arguments)
    return attended.reshape(attended.shape[0], *visible.shape[1:])

  def mix(
    self,
    x: Array,
    kernel: Array,
    bias: Array,
    complementary: Array,
    visible: Array,
    infrared: Array,
  ) -> tuple[Array, Array]:
    """See `Plain.mix`."""
    maps = (complementary, visible, infrared)
    if not self._takes("mix", x, *maps):
      return super().mix(x, kernel, bias, *maps)
    if kernel.ndim == 4:
      ones, zeros = jnp.ones(1, jnp.float32), jnp.zeros(1, jnp.float32)
      return functions.mix(self.head(x, kernel, bias), ones, zeros, *maps)
    kernel, bias = _single(kernel[:, 0], bias)
    return functions.mix(x, kernel, bias, *maps)

  def enlarge(self, x: Array, skip: Array) -> Array:
    """See `Plain.enlarge`."""
    return functions.enlarge(x, skip) if self._takes("enlarge", x) else super().enlarge(x, skip)

  def head(self, x: Array, kernel: Array, bias: Array) -> Array:
    """See `Plain.head`."""
    if not self._takes("head", x):
      return super().head(x, kernel, bias)
    return functions.head(x, *_single(kernel, bias), self.padding)


def _single(*parameters: Array) -> tuple[Array, ...]:
  return tuple(p.astype(jnp.float32) for p in parameters)
