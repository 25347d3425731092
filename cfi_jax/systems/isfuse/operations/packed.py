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
from cfi_jax.systems.isfuse.operations import attention
from cfi_jax.systems.isfuse.operations.attention_kernel import BLOCK
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
        x = surround(x, axis, repeated=self.padding == "replicate")
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), [(border, border)] * 2, dimension_numbers=dimensions
    )
    return y + bias.reshape(1, 1, 1, -1)

  def halve(self, x: Array) -> Array:
    """See `Plain.halve`: the maximum of a cell's phases."""
    return _halve(x)

  def grid(self, x: Array, side: int) -> Array:
    """See `Plain.grid`; where it divides the cells as means, whose gradient is one pass."""
    batch, height, width, channels = x.shape
    if not height % side and not width % side:
      cells = x.reshape(batch, side, height // side, side, width // side, channels)
      means = cells.astype(statistics_dtype(x.dtype)).mean((2, 4))
      return (sum(phases(means)) / PHASES).astype(x.dtype)
    return self._ragged_grid(x, side)

  def _ragged_grid(self, x: Array, side: int) -> Array:
    """The sum of what each phase's rows and columns add to cells that overlap."""
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
    exact, features = statistics_dtype(self.dtype), complementary.shape[-1] // PHASES
    if kernel.ndim == 4:
      logits = self.convolve(x, kernel, bias).astype(exact)
    else:
      every = jnp.kron(jnp.eye(PHASES, dtype=self.dtype), kernel.astype(self.dtype))
      logits = jnp.matmul(x, every) + bias.astype(self.dtype).reshape(1, 1, 1, -1)
      logits = logits.astype(exact)
    gate = nn.sigmoid(logits)
    # A product spreads every phase's gate over its channels.
    spread = np.kron(np.eye(PHASES), np.ones((1, features)))
    highest = jax.lax.Precision.HIGHEST
    weight = jnp.matmul(gate.astype(self.dtype), spread.astype(self.dtype), precision=highest)
    mixed = weight * complementary + (1 - weight) * (visible + infrared)
    return unpack(gate), mixed

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
    count = cells[0].shape[1]
    # Whole blocks: the kernel's loads of parts of one are for GPUs.
    cells = tuple(jnp.pad(x, ((0, 0), (0, -count % BLOCK), (0, 0))) for x in cells)
    total = attention.kernel(cells, tuple(tokens), features**-0.5)[:, :count]
    return total.reshape(-1, *visible.shape[1:])


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


def surround(x: Array, axis: int, repeated: bool) -> Array:
  """A cell beyond either end of an axis; only its phase next to the image is ever looked at.

  repeated: whether that phase is the border's pixel, or else the one beside it (mirrored).
  """
  ends = [jax.lax.slice_in_dim(x, *ends, axis=axis) for ends in ((0, 1), (-1, None))]
  # The mirrored pixel is the same phase of the border's cell, the repeated one the other phase.
  if repeated:
    order = (2, 3, 0, 1) if axis == 1 else (1, 0, 3, 2)
    ends = [jnp.concatenate([phases(end)[k] for k in order], -1) for end in ends]
  return jnp.concatenate([ends[0], x, ends[1]], axis)


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


def _between_phases(x: Array, weights: list[list[int]]) -> Array:
  """Sums over phases; weights [read, written] are 0 or 1. A product: no channel leaves its lane."""
  matrix = np.kron(np.array(weights), np.eye(x.shape[-1] // PHASES))
  return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision=jax.lax.Precision.HIGHEST)


BESIDE = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]  # the other column
BELOW = [[0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]]  # the other row
BEFORE = [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]  # the phases before


def _largest(x: Array) -> Array:
  """The maximum over a cell's phases, in the channels of each."""
  x = jnp.maximum(x, _between_phases(x, BESIDE))
  return jnp.maximum(x, _between_phases(x, BELOW))


def _repacking(features: int, to_all: bool) -> np.ndarray:
  """The kernel [2, 2, 4 C, 4 C] that makes phase k of a cell from the k-th of 2x2 cells.

  What it reads there is phase k, and, if `to_all`, the sum of all phases.
  """
  places = np.zeros((2, 2, PHASES, PHASES))
  for k in range(PHASES):
    places[(*divmod(k, 2), slice(None) if to_all else k, k)] = 1
  whole = np.einsum("ijpq,cd->ijpcqd", places, np.eye(features))
  return whole.reshape(2, 2, PHASES * features, PHASES * features)


def _repack(x: Array, to_all: bool = False) -> Array:
  """Cells of 2x2 cells; see `_repacking`."""
  kernel = jnp.asarray(_repacking(x.shape[-1] // PHASES, to_all), x.dtype)
  dimensions, exact = ("NHWC", "HWIO", "NHWC"), jax.lax.Precision.HIGHEST
  return jax.lax.conv_general_dilated(
    x, kernel, (2, 2), [(0, 0)] * 2, dimension_numbers=dimensions, precision=exact
  )


@jax.custom_vjp
def _halve(x: Array) -> Array:
  return _repack(_largest(x))


def _halve_backward(x: Array, d_out: Array) -> tuple[Array]:
  is_largest = (x == _largest(x)).astype(x.dtype)
  is_first = is_largest * (_between_phases(is_largest, BEFORE) == 0)
  (spread,) = jax.linear_transpose(lambda x: _repack(x, to_all=True), x)(d_out)
  return (is_first * spread,)


_halve.defvjp(lambda x: (_halve(x), x), _halve_backward)
