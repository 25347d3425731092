"""Cells of 2x2 pixels that lie side by side in the channels, see `packed`."""

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array

PHASES = 4


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
