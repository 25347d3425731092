"""Operations on maps whose 2x2 pixels lie side by side in the channels, [B, H/2, W/2, 4 C].

A TPU works on 128 values of the last axis at once and fills up what is missing: maps of 32 channels
would take four times their bytes. All is exact: a 3x3 convolution of pixels is one of cells of 2x2
pixels with four times the channels, most of whose weights are 0. The pixel in row i and column j of
a cell is phase 2 i + j, and has the channels from (2 i + j) C on.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.operations import attention
from cfi_jax.systems.isfuse.operations.cells import PHASES, expand, pack, phases, surround, unpack
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.plain import Direction, per_channel


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

  def _laid_out(self, kernel: Array, bias: Array) -> tuple[Array, Array]:
    return expand(kernel), jnp.tile(bias, PHASES)

  def _surround(self, x: Array) -> Array:
    for axis in (1, 2):
      x = surround(x, axis, repeated=self.padding == "replicate")
    return x

  def halve(self, x: Array) -> Array:
    """See `Plain.halve`: the maximum of a cell's phases."""
    return _halve(x)

  def grid(self, x: Array, side: int) -> Array:
    """See `Plain.grid`."""
    if x.shape[1] % side or x.shape[2] % side:
      return _grid(x, side)
    return _whole_grid(x, side)

  def enlarge(self, x: Array, skip: Array) -> Array:
    """See `Plain.enlarge`, to twice the size: a pixel becomes a cell."""
    for axis in (1, 2):
      x = surround(x, axis, repeated=True)
    kernel = jnp.asarray(_enlarging(x.shape[-1] // PHASES), self.dtype)
    y = jax.lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      [(0, 0)] * 2,
      lhs_dilation=(2, 2),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision=jax.lax.Precision.HIGHEST,
    )
    return y + skip

  def _narrow(self, x: Array, kernel: Array, bias: Array) -> Array:
    every = jnp.kron(jnp.eye(PHASES, dtype=self.dtype), kernel.astype(self.dtype))
    return _narrow(x, every) + per_channel(bias.astype(statistics_dtype(self.dtype)))

  def attend(
    self, visible: Array, infrared: Array, directions: tuple[Direction, Direction]
  ) -> Array:
    """See `Plain.attend`: every phase asks, with tokens that are 0 in the channels of others."""
    if attention.get(self.attention) is not attention.pallas:
      return pack(super().attend(unpack(visible), unpack(infrared), directions))
    features = visible.shape[-1] // PHASES
    cells = tuple(x.reshape(x.shape[0], -1, x.shape[-1]) for x in (visible, infrared))
    tokens = []
    for direction in directions:
      key, offset, value = attention.projected(*direction)
      for k in range(PHASES):
        sides = ((0, 0), (0, 0), (k * features, (PHASES - 1 - k) * features))
        tokens.append((jnp.pad(key, sides), offset, jnp.pad(value, sides)))
    total = attention.kernel(cells, tuple(tokens), features**-0.5)
    return total.reshape(-1, *visible.shape[1:])


def _grid(x: Array, side: int) -> Array:
  """See `Plain.grid`: the sum of what each phase's rows and columns add to the means."""
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _whole_grid(x: Array, side: int) -> Array:
  """`_grid` of a grid whose cells are made of whole cells of pixels: all get the same gradient."""
  return _grid(x, side)


def _whole_grid_forward(x: Array, side: int) -> tuple[Array, tuple[int, int]]:
  return _grid(x, side), x.shape[1:3]


def _whole_grid_backward(side: int, size: tuple[int, int], d_out: Array) -> tuple[Array]:
  batch, channels = d_out.shape[0], d_out.shape[-1]
  height, width = (length // side for length in size)
  d_pixel = jnp.tile(d_out / (PHASES * height * width), PHASES)[:, :, None, :, None]
  whole = (batch, side, height, side, width, PHASES * channels)
  return (jnp.broadcast_to(d_pixel, whole).reshape(batch, *size, -1),)


_whole_grid.defvjp(_whole_grid_forward, _whole_grid_backward)


@jax.custom_vjp
def _narrow(x: Array, kernel: Array) -> Array:
  """A product that is kept in at least float32, while its gradients are in the maps' dtype."""
  return jnp.matmul(x, kernel, preferred_element_type=statistics_dtype(x.dtype))


def _narrow_backward(saved: tuple, d_out: Array) -> tuple:
  x, kernel = saved
  d_out, rows = d_out.astype(x.dtype), tuple(range(x.ndim - 1))
  d_kernel = jax.lax.dot_general(
    x, d_out, ((rows, rows), ((), ())), preferred_element_type=statistics_dtype(x.dtype)
  )
  return jnp.matmul(d_out, kernel.T), d_kernel.astype(kernel.dtype)


_narrow.defvjp(lambda x, kernel: (_narrow(x, kernel), (x, kernel)), _narrow_backward)


def _enlarging(features: int) -> np.ndarray:
  """The kernel [4, 4, 4 C, 4 C] that makes cells of twice the size from cells with gaps between.

  Cell k of the result is pixel k of `x`. With gaps, cell m of `x` is at 2 m; tap t reads 2 from k
  to the left for t = 0, and 1 to the right for t = 3.
  """
  weights = np.zeros((4, 2, 2))  # [tap, phase read, phase written]
  for tap in range(4):
    for source in range(2):
      # Of the pixel read, seen from pixel k: even taps serve even k.
      offset = {0: -2, 1: -1, 2: 0, 3: 1}[tap] + source
      if abs(offset) <= 1:
        weights[tap, source] = [
          0.75 if not offset else 0.25 * (offset < 0),
          0.75 if not offset else 0.25 * (offset > 0),
        ]
  each = np.einsum("tis,ujv->tuijsv", weights, weights).reshape(4, 4, PHASES, PHASES)
  return np.einsum("tupq,cd->tupcqd", each, np.eye(features)).reshape(
    4, 4, PHASES * features, PHASES * features
  )


def _gathering(features: int) -> np.ndarray:
  """The kernel [2, 2, 4 C, 4 * 4 C] whose block p of 4 C has phase p of each of 2x2 cells."""
  places = np.zeros((2, 2, PHASES, PHASES, PHASES))
  for cell in range(PHASES):
    for phase in range(PHASES):
      places[(*divmod(cell, 2), phase, phase, cell)] = 1
  whole = np.einsum("ijapk,cd->ijacpkd", places, np.eye(features))
  return whole.reshape(2, 2, PHASES * features, PHASES * PHASES * features)


def _gather(x: Array) -> Array:
  """Cells of 2x2 cells, [B, H/4, W/4, 4 * 4 C]; see `_gathering`.

  A convolution, so that no channel leaves its lane but in the matrix unit.
  """
  kernel = jnp.asarray(_gathering(x.shape[-1] // PHASES), x.dtype)
  dimensions, exact = ("NHWC", "HWIO", "NHWC"), jax.lax.Precision.HIGHEST
  return jax.lax.conv_general_dilated(
    x, kernel, (2, 2), [(0, 0)] * 2, dimension_numbers=dimensions, precision=exact
  )


@jax.custom_vjp
def _halve(x: Array) -> Array:
  return _halve_forward(x)[0]


def _halve_forward(x: Array) -> tuple[Array, Array]:
  """Keeps which phase was the largest, in a byte each."""
  largest, *others = phases(_gather(x))
  place = jnp.zeros(largest.shape, jnp.uint8)
  for k, pixel in enumerate(others, start=1):
    place = jnp.where(pixel > largest, jnp.uint8(k), place)
    largest = jnp.maximum(largest, pixel)
  return largest, place


def _halve_backward(place: Array, d_out: Array) -> tuple[Array]:
  batch, height, width, channels = d_out.shape
  x = jax.ShapeDtypeStruct((batch, 2 * height, 2 * width, channels), d_out.dtype)
  zero = jnp.zeros((), d_out.dtype)
  each = [jnp.where(place == jnp.uint8(k), d_out, zero) for k in range(PHASES)]
  return tuple(jax.linear_transpose(_gather, x)(jnp.concatenate(each, -1)))


_halve.defvjp(_halve_forward, _halve_backward)
