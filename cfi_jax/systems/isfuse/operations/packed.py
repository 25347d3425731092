"""Operations on maps whose 2x2 pixels lie side by side in the channels, [B, H/2, W/2, 4 C].

A TPU works on 128 values of the last axis at once and fills up what is missing: maps of 32 channels
would take four times their bytes. All is exact: a 3x3 convolution of pixels is one of cells of 2x2
pixels with four times the channels, most of whose weights are 0. The pixel in row i and column j of
a cell is phase 2 i + j, and has the channels from (2 i + j) C on.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.plain import Direction

PHASES = 4


@dataclasses.dataclass(frozen=True)
class Packed(Fused):
  """See `Plain`; sides must be even at every level."""

  def enter(self, image: Array) -> Array:
    """See `Plain.enter`."""
    return pack(image.astype(self.dtype))

  def leave(self, x: Array) -> Array:
    """See `Plain.leave`."""
    return unpack(x)

  def channels(self, x: Array) -> int:
    """See `Plain.channels`."""
    return x.shape[-1] // PHASES

  def pixels(self, x: Array) -> int:
    """See `Plain.pixels`."""
    return PHASES * x.shape[1] * x.shape[2]

  def convolve(self, x: Array, kernel: Array, bias: Array) -> Array:
    """See `Plain.convolve`."""
    kernel, bias = expand(kernel).astype(self.dtype), jnp.tile(bias, PHASES).astype(self.dtype)
    border = 1 if self.padding == "zeros" else 0
    if self.padding != "zeros":
      for axis in (1, 2):
        x = self._surround(x, axis)
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), [(border, border)] * 2, dimension_numbers=dimensions
    )
    return y + bias.reshape(1, 1, 1, -1)

  def _surround(self, x: Array, axis: int) -> Array:
    """A cell beyond either end of an axis; only its phase next to the image is ever looked at."""
    ends = [jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, 1), (-1, None))]
    # Mirrored at the border pixel, that phase is the same phase of the border's cell. Repeated, it
    # is the other one.
    if self.padding == "replicate":
      order = (2, 3, 0, 1) if axis == 1 else (1, 0, 3, 2)
      ends = [jnp.concatenate([phases(end)[k] for k in order], -1) for end in ends]
    return jnp.concatenate([ends[0], x, ends[1]], axis)

  def halve(self, x: Array) -> Array:
    """See `Plain.halve`: the maximum of a cell's phases."""
    a, b, c, d = phases(x)
    top, bottom = jnp.where(a >= b, a, b), jnp.where(c >= d, c, d)
    return pack(jnp.where(top >= bottom, top, bottom))

  def grid(self, x: Array, side: int) -> Array:
    """See `Plain.grid`: the sum of what each phase's rows and columns add."""
    rows = ops.pool_matrix(2 * x.shape[1], side)
    columns = ops.pool_matrix(2 * x.shape[2], side)
    # First the rows of both phases, for all channels: a product that unpacks nothing.
    both = np.concatenate([rows[:, ::2], rows[:, 1::2]]).astype(x.dtype)
    exact = jax.lax.Precision.HIGHEST
    strips = jnp.einsum("rh,bhwk->brwk", both, x, precision=exact)
    total = 0.0
    for k in range(PHASES):
      i, j = divmod(k, 2)
      strip = phases(strips[:, i * side : (i + 1) * side])[k]
      total += jnp.einsum("cw,brwk->brck", columns[:, j::2].astype(x.dtype), strip, precision=exact)
    return total

  def enlarge(self, x: Array, skip: Array) -> Array:
    """See `Plain.enlarge`, to twice the size: a pixel becomes a cell."""
    x = unpack(x).astype(statistics_dtype(self.dtype))
    rows = [_blend_towards(x, 1, shift) for shift in (-1, 1)]
    cells = [_blend_towards(row, 2, shift) for row in rows for shift in (-1, 1)]
    return (jnp.concatenate(cells, -1) + skip).astype(self.dtype)

  def head(self, x: Array, kernel: Array, bias: Array) -> Array:
    """See `Plain.head`."""
    return unpack(self.convolve(x, kernel, bias))

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
    exact = statistics_dtype(self.dtype)
    features = complementary.shape[-1] // PHASES
    # Every channel gets its phase's gate at once: nothing is spread from 4 channels to 4 C.
    if kernel.ndim == 4:
      logits = self.convolve(x, jnp.repeat(kernel, features, -1), jnp.repeat(bias, features))
    else:
      kernel = jnp.repeat(kernel, features, -1)
      every = jnp.kron(jnp.eye(PHASES, dtype=kernel.dtype), kernel)
      logits = jnp.matmul(x.astype(exact), every.astype(exact)) + bias
    weight = nn.sigmoid(logits.astype(exact))
    local = visible.astype(exact) + infrared
    mixed = (weight * complementary + (1 - weight) * local).astype(self.dtype)
    return unpack(weight[..., ::features]), mixed

  def attend(
    self, visible: Array, infrared: Array, directions: tuple[Direction, Direction]
  ) -> Array:
    """See `Plain.attend`."""
    x = super().attend(unpack(visible), unpack(infrared), directions)
    return pack(x)


def phases(x: Array) -> list[Array]:
  """The pixels of every phase, [B, H/2, W/2, C] each."""
  return jnp.split(x, PHASES, axis=-1)


def pack(x: Array) -> Array:
  """[B, H, W, C] with even sides as [B, H/2, W/2, 4 C]."""
  return jnp.concatenate([x[:, i::2, j::2] for i in range(2) for j in range(2)], -1)


def unpack(x: Array) -> Array:
  """The reverse of `pack`."""
  batch, height, width, channels = x.shape
  x = x.reshape(batch, height, width, 2, 2, channels // PHASES).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(batch, 2 * height, 2 * width, channels // PHASES)


def _taps() -> np.ndarray:
  """[cell tap, phase read, phase written, tap]: 1 where that tap of 3 pixels is one of 3 cells."""
  taps = np.zeros((3, 2, 2, 3))
  for cell in range(3):
    for source in range(2):
      for target in range(2):
        tap = 2 * (cell - 1) + source - target + 1
        if 0 <= tap < 3:
          taps[cell, source, target, tap] = 1
  return taps


def expand(kernel: Array) -> Array:
  """The kernel [3, 3, 4 Ci, 4 Co] of cells that does what [3, 3, Ci, Co] does to pixels."""
  taps = jnp.asarray(_taps(), kernel.dtype)
  inputs, outputs = kernel.shape[2:]
  whole = jnp.einsum(
    "yist,xjuv,tvco->yxijcsuo", taps, taps, kernel, precision=jax.lax.Precision.HIGHEST
  )
  return whole.reshape(3, 3, PHASES * inputs, PHASES * outputs)


def _blend_towards(x: Array, axis: int, shift: int) -> Array:
  """Three quarters of every pixel and one of its neighbour, the border repeated."""
  if shift < 0:
    parts = (jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, 1), (0, -1)))
  else:
    parts = (jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((1, None), (-1, None)))
  return 0.75 * x + 0.25 * jnp.concatenate(list(parts), axis)
