"""Pooling and resizing of maps in one pass each way, without tables of indices or matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype


@jax.custom_vjp
def halve(x: Array) -> Array:
  """2x2 max pooling of [B, H, W, C], sizes rounded down; ties give their gradient to the first."""
  return _halve_forward(x)[0]


def _halve_forward(x: Array) -> tuple[Array, tuple]:
  """Keeps which pixel of its square was the largest, in a byte each."""
  batch, height, width, channels = x.shape
  squares = x[:, : height // 2 * 2, : width // 2 * 2]
  squares = squares.reshape(batch, height // 2, 2, width // 2, 2, channels)
  pixels = [squares[:, :, i, :, j] for i in range(2) for j in range(2)]
  largest, place = pixels[0], jnp.zeros(pixels[0].shape, jnp.uint8)
  for i, pixel in enumerate(pixels[1:], start=1):
    place = jnp.where(pixel > largest, jnp.uint8(i), place)
    largest = jnp.maximum(largest, pixel)
  return largest, (place, height, width)


def _halve_backward(saved: tuple, d_out: Array) -> tuple[Array]:
  place, height, width = saved
  here = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
  square, d_square = place[:, :, None, :, None], d_out[:, :, None, :, None]
  d_even = jnp.where(square == here, d_square, jnp.zeros((), d_out.dtype))
  batch, rows, _, columns, _, channels = d_even.shape
  d_even = d_even.reshape(batch, 2 * rows, 2 * columns, channels)
  return (jnp.pad(d_even, ((0, 0), (0, height - 2 * rows), (0, width - 2 * columns), (0, 0))),)


halve.defvjp(_halve_forward, _halve_backward)


def grid(x: Array, side: int) -> Array:
  """`ops.average_pool` of [B, H, W, C]; of a grid that divides the map as plain means."""
  batch, height, width, channels = x.shape
  if height % side or width % side:
    return ops.average_pool(x, side)
  cells = x.reshape(batch, side, height // side, side, width // side, channels)
  return cells.astype(statistics_dtype(x.dtype)).mean((2, 4)).astype(x.dtype)


def enlarge(x: Array, skip: Array) -> Array:
  """`skip` plus `x` resized to its size as by `ops.resize`."""
  exact = x.astype(statistics_dtype(x.dtype))
  return (_resize(exact, x.shape[1:3], skip.shape[1:3]) + skip).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _resize(x: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
  """Bilinear resizing of [B, *old, C] to [B, *new, C]."""
  for axis in range(2):
    x = _apply(ops.resize_matrix(old[axis], new[axis]), x, axis + 1)
  return x


def _resize_forward(x: Array, old: tuple[int, int], new: tuple[int, int]) -> tuple[Array, None]:
  return _resize(x, old, new), None


def _resize_backward(
  old: tuple[int, int], new: tuple[int, int], saved: None, d_out: Array
) -> tuple[Array]:
  for axis in range(2):
    d_out = _apply(ops.resize_matrix(old[axis], new[axis]).T, d_out, axis + 1)
  return (d_out,)


_resize.defvjp(_resize_forward, _resize_backward)


def _apply(matrix: np.ndarray, x: Array, axis: int) -> Array:
  """A matrix of few entries per row along an axis: every entry a position that is looked up.

  Look-ups fuse with each other and with what surrounds them, unlike slices that overlap.
  """
  shape = [-1 if i == axis else 1 for i in range(x.ndim)]
  order = np.argsort(matrix == 0, axis=1, kind="stable")  # entries first
  total = jnp.zeros((), x.dtype)
  for k in range((matrix != 0).sum(1).max()):
    weight = np.take_along_axis(matrix, order[:, k : k + 1], 1).reshape(shape).astype(x.dtype)
    total = total + weight * jnp.take(x, order[:, k], axis=axis, mode="clip")
  return total
