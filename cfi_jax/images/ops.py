"""Image arithmetic on arrays [..., H, W, C]: Laplacian, blur, resizing and pooling as matrices."""

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array

PIXELS = (-3, -2, -1)  # the axes of one image


def statistics_dtype(dtype: jnp.dtype) -> jnp.dtype:
  """The dtype for statistics, softmax and sigmoid: at least float32 (bfloat16 loses them)."""
  return jnp.promote_types(dtype, jnp.float32)


def assert_grey(*images: Array, rank: int | None = None) -> None:
  """Raises AssertionError unless all images, and those of pairs, are [..., H, W, 1] of one shape.

  rank: their number of axes, where it matters. Costs nothing after tracing.
  """
  leaves = jax.tree.leaves(images)
  chex.assert_shape(leaves, (..., None, None, 1))
  chex.assert_equal_shape(leaves)
  if rank is not None:
    chex.assert_rank(leaves, rank)


def _assert_image(image: Array) -> None:
  chex.assert_shape(image, (..., None, None, None))


def laplacian(image: Array) -> Array:
  """8-neighbour Laplacian (centre weight -8) with zero padding, same shape as `image`."""
  _assert_image(image)
  height, width = image.shape[-3:-1]
  border = [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
  rows = jnp.pad(image, border)
  rows = rows[..., :height, :, :] + rows[..., 1 : height + 1, :, :] + rows[..., 2:, :, :]
  box = rows[..., :width, :] + rows[..., 1 : width + 1, :] + rows[..., 2:, :]
  return box - 9 * image


def absolute(x: Array) -> Array:
  """|x|, whose slope is 0 where x is 0, as in flat parts of images; that of `jnp.abs` is 1."""
  return x * jnp.sign(x)


def sobel_magnitude(image: Array) -> Array:
  """|d/dx| + |d/dy| by the Sobel operator with weights 1, 2, 1, zeros outside; same shape."""
  _assert_image(image)
  height, width = image.shape[-3:-1]
  padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
  rows = [padded[..., i : i + height, :, :] for i in range(3)]
  columns = [padded[..., j : j + width, :] for j in range(3)]
  across = rows[0] + 2 * rows[1] + rows[2]
  across = across[..., 2:, :] - across[..., :width, :]
  down = columns[0] + 2 * columns[1] + columns[2]
  down = down[..., 2:, :, :] - down[..., :height, :, :]
  return absolute(across) + absolute(down)


@struct.dataclass
class Stage:
  """Computes function(array), for the compiler to join with what comes before and after, or apart.

  Apart it is computed as a whole before anything takes it. XLA's compiler for CPUs joins passes,
  and computes the first of two anew for every tap of the second: apart, a wavelet fusion takes a
  fifth of the time. Stages are arguments of jitted functions, so that their traces are kept.

  always: a true scalar that the compiler cannot know, as it is among the arguments of the compiled
    program; None: joined. everywhere: apart on every platform, not on CPUs alone.
  """

  always: Array | None = None
  everywhere: bool = struct.field(pytree_node=False, default=True)

  def __call__(self, function: Callable[[Array], Array], x: Array) -> Array:
    """function(x)."""
    if self.always is None:
      return function(x)
    if self.everywhere:
      return self._by_itself(function, x)
    by_itself = functools.partial(self._by_itself, function)
    return jax.lax.platform_dependent(x, cpu=by_itself, default=function)

  def _by_itself(self, function: Callable[[Array], Array], x: Array) -> Array:
    result = jax.eval_shape(function, x)
    return jax.lax.cond(self.always, function, lambda _: jnp.zeros(result.shape, result.dtype), x)


TOGETHER = Stage()


def staged(image: Array) -> Stage:
  """A stage for programs that have `image` among their data: apart on a CPU."""
  # True of every number, which the compiler cannot know; of NaN, too.
  return Stage(image[(0,) * image.ndim] != 1e30, everywhere=False)


def blur(
  image: Array,
  taps: tuple[float, ...],
  spacing: int = 1,
  border: str = "reflect",
  *,
  size: Array | None = None,
  stage: Stage = TOGETHER,
) -> Array:
  """Both axes correlated with an odd number of taps, `spacing` pixels apart.

  border: "reflect" mirrors the image beyond it, "constant" takes zeros.
  size: int32 [2], the height and width of an image in the upper left of the array, to be mirrored
    there; None where it fills the array. stage: computes each step.
  """
  _assert_image(image)
  reach = len(taps) // 2 * spacing
  for k, axis in enumerate((image.ndim - 3, image.ndim - 2)):
    length, own = image.shape[axis], None if size is None else size[k]
    padded = stage(functools.partial(_extend, axis, reach, border, own), image)
    image = stage(functools.partial(_correlate, axis, length, taps, spacing), padded)
  return image


def _extend(axis: int, reach: int, border: str, own: Array | None, image: Array) -> Array:
  """Continues one axis on both sides; own: the size of the image along it, see `blur`."""
  if own is None:
    around = [(0, 0)] * image.ndim
    around[axis] = (reach, reach)
    return jnp.pad(image, around, mode=border)
  places = mirrored(jnp.arange(-reach, image.shape[axis] + reach), own)
  return jnp.take(image, places, axis=axis, mode="clip")


def _correlate(
  axis: int, length: int, taps: tuple[float, ...], spacing: int, padded: Array
) -> Array:
  return sum(
    tap * jax.lax.slice_in_dim(padded, k * spacing, k * spacing + length, axis=axis)
    for k, tap in enumerate(taps)
  )


def mirrored(position: Array, size: Array | int) -> Array:
  """Positions in an axis of `size`, mirrored again and again at its ends, of any positions."""
  period = 2 * (size - 1) + (size == 1)
  place = position % period
  return place - (2 * place - period) * (place >= size)


def resize_matrix(size: int, new_size: int) -> np.ndarray:
  """Bilinear resizing of one axis as a matrix [new_size, size].

  Half-pixel centres, the border value repeated outside; no antialiasing when shrinking (as
  `interpolate(mode="bilinear", align_corners=False)` of PyTorch).
  """
  centre = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
  distance = np.abs(centre[:, None] - np.arange(size)[None])
  return np.maximum(0.0, 1.0 - distance)


def pool_matrix(
  size: int | Array, bins: int, position: np.ndarray | None = None
) -> np.ndarray | Array:
  """Adaptive average pooling of one axis as a matrix [bins, size].

  Bin j averages positions floor(j * size / bins) up to ceil((j + 1) * size / bins); bins overlap
  where `bins` does not divide `size`, and repeat positions where `size` < `bins`.
  position: those whose columns are asked for, 0 outside of the axis; all of it by default. size:
    an int32 scalar of JAX gives an array of JAX.
  """
  position = (np.arange(size) if position is None else position)[None]
  start = np.arange(bins)[:, None] * size // bins
  stop = -(-(np.arange(bins)[:, None] + 1) * size // bins)
  return ((start <= position) & (position < stop)) / (stop - start)


def apply_matrices(rows: np.ndarray, columns: np.ndarray, image: Array) -> Array:
  """Applies `rows` [h, H] along the height and `columns` [w, W] along the width of an image."""
  _assert_image(image)
  chex.assert_shape([rows, columns], [(None, n) for n in image.shape[-3:-1]])
  rows, columns = rows.astype(image.dtype), columns.astype(image.dtype)
  # Two contractions, the cheaper axis order left to XLA; full precision also on GPU and TPU.
  image = jnp.einsum("hH,...HWC->...hWC", rows, image, precision=jax.lax.Precision.HIGHEST)
  return jnp.einsum("wW,...hWC->...hwC", columns, image, precision=jax.lax.Precision.HIGHEST)


def resize(image: Array, height: int, width: int) -> Array:
  """Bilinear resize (see `resize_matrix`) to [..., height, width, C]."""
  _assert_image(image)
  if image.shape[-3:-1] == (height, width):
    return image
  rows = resize_matrix(image.shape[-3], height)
  return apply_matrices(rows, resize_matrix(image.shape[-2], width), image)


def average_pool(image: Array, grid: int) -> Array:
  """Adaptive average pooling (see `pool_matrix`) to [..., grid, grid, C]."""
  _assert_image(image)
  rows = pool_matrix(image.shape[-3], grid)
  return apply_matrices(rows, pool_matrix(image.shape[-2], grid), image)


def mean_map(maps: tuple[Array, ...]) -> Array:
  """Mean of maps [..., h, w, 1] of several levels, each resized to the size of the first."""
  chex.assert_shape(maps, (..., None, None, 1))
  chex.assert_rank(maps, maps[0].ndim)
  chex.assert_equal_shape_prefix(maps, maps[0].ndim - 3)
  height, width = maps[0].shape[-3:-1]
  return sum(resize(m, height, width) for m in maps) / len(maps)


def to_uint8(image: Array) -> Array:
  """Values in [0, 1] as 8-bit grey levels, rounded to the nearest."""
  return jnp.floor(jnp.clip(jnp.asarray(image), 0, 1) * 255 + 0.5).astype(jnp.uint8)
