"""Depth from a photograph alone: a stand-in where nobody measured it."""

import chex
import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array
from cfi_jax.images import ops

HORIZON = (0.3, 0.6)  # of the height, from the top
# Distance of the ground at the bottom of a picture over that of the far end, at a horizon at 0.
NEAR = (0.02, 0.08)
RELIEF = 0.1  # standard deviation of what is nearer or farther than the plane, as a share of it
RELIEF_SIZE = 1 / 8  # of its hills, as a share of the height
DARK_PATCH, GUIDE_RADIUS = 1 / 32, 1 / 16  # as shares of the height
GUIDE_EPSILON = 1e-3  # variance that counts as an edge
HAZE_KEPT = 0.95  # share of haze that the dark channel is said to be, as its authors have it


def surrogate(key: Array, visible: Array, *, window: tuple[Array, Array] = (0.0, 1.0)) -> Array:
  """Plausible depth of a photograph [H, W, C] in [0, 1], [H, W, 1], 0 near, 1 at the far end.

  A mixture of a plane that ends at a random horizon, with hills, and of the dark channel (He, Sun
  and Tang 2009, "Single Image Haze Removal Using Dark Channel Prior"), smoothed so that its edges
  are those of the photograph (He, Sun and Tang 2010, "Guided Image Filtering"). It is no estimate
  of the depth of this scene, but has its ground near, its sky far, and edges at edges.
  window: of the rows of a larger picture that `visible` shows, its top and bottom as shares.
  """
  chex.assert_rank(visible, 3)
  height, width = visible.shape[:2]
  mix = jax.random.uniform(keys.fold(key, "mix"), (), maxval=0.5)
  ground = plane(keys.fold(key, "plane"), height, width, window)
  mixed = (1 - mix) * ground + mix * dark_channel(visible)
  guide = visible.mean(-1, keepdims=True)
  return jnp.clip(guided_filter(guide, mixed, max(1, round(GUIDE_RADIUS * height))), 0, 1)


def plane(key: Array, height: int, width: int, window: tuple[Array, Array] = (0.0, 1.0)) -> Array:
  """Depth of level ground with low hills below a sky, [height, width, 1]."""
  horizon_key, near_key, relief_key = jax.random.split(key, 3)
  horizon = jax.random.uniform(horizon_key, (), minval=HORIZON[0], maxval=HORIZON[1])
  near = jax.random.uniform(near_key, (), minval=NEAR[0], maxval=NEAR[1])
  top, bottom = window
  y = top + (bottom - top) * (jnp.arange(height) + 0.5) / height
  depth = jnp.minimum(near / jnp.maximum(y - horizon, near), 1).reshape(-1, 1, 1)
  cells = round(1 / RELIEF_SIZE)
  hills = jax.random.normal(relief_key, (cells, max(2, cells * width // height), 1))
  return jnp.clip(depth * (1 + RELIEF * ops.resize(hills, height, width)), 0, 1)


def dark_channel(visible: Array) -> Array:
  """Depth -ln t of a photograph [H, W, C], t = 1 - `HAZE_KEPT` dark, over its largest; [H, W, 1].

  dark is the least value of any channel in a square patch.
  """
  reach = max(1, round(DARK_PATCH * visible.shape[0]))
  window = (2 * reach + 1, 2 * reach + 1, 1)
  dark = jax.lax.reduce_window(
    visible.min(-1, keepdims=True), jnp.inf, jax.lax.min, window, (1, 1, 1), "SAME"
  )
  depth = -jnp.log(1 - HAZE_KEPT * jnp.clip(dark, 0, 1))
  return depth / jnp.maximum(depth.max(), 1e-6)


def guided_filter(guide: Array, image: Array, radius: int) -> Array:
  """Smooths `image` [H, W, 1] over boxes, but not across edges of `guide` [H, W, 1]."""
  rows, columns = (_box(size, radius) for size in guide.shape[:2])

  def mean(x: Array) -> Array:
    return ops.apply_matrices(rows, columns, x)

  of_guide, of_image = mean(guide), mean(image)
  variance = mean(guide**2) - of_guide**2
  slope = (mean(guide * image) - of_guide * of_image) / (variance + GUIDE_EPSILON)
  return mean(slope) * guide + mean(of_image - slope * of_guide)


def _box(size: int, radius: int) -> Array:
  """The matrix [size, size] that averages one axis over the neighbours that there are."""
  near = jnp.abs(jnp.arange(size)[:, None] - jnp.arange(size)[None]) <= radius
  return near / near.sum(1, keepdims=True)
