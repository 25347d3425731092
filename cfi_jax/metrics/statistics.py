"""Metrics of the fused image alone (SD, SF, AG and EI), and the gradients that others share."""

import jax.numpy as jnp
from jax import lax

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.windows import area, extend, extremes, materialize, mean, total


def centred(x: Array, height, width) -> Array:
  """Float x minus its mean over the image; integers are moved by an exact integer first."""
  low, high = extremes(x, height, width)
  pivot = jnp.clip(jnp.round(mean(x, height, width)).astype(x.dtype), low, high)
  offset = (x - pivot).astype(float)
  return materialize(offset - mean(offset, height, width))


def standard_deviation(images: Images, convention: str) -> Score:
  """SD = sqrt(mean (F - mean F)^2), in levels; the divisor is the number of pixels."""
  x = centred(images.fused, images.height, images.width)
  return Score(jnp.sqrt(mean(x * x, images.height, images.width)))


def spatial_frequency(images: Images, convention: str) -> Score:
  """SF = sqrt(mean (dF across)^2 + mean (dF down)^2), in levels, d between neighbours.

  Source: Eskicioglu and Fisher 1995. Each mean is over the differences that exist.
  """
  x, height, width = images.fused, images.height, images.width
  across = x[:, 1:] - x[:, :-1]
  down = x[1:] - x[:-1]
  squares = mean(across * across, height, width - 1) + mean(down * down, height - 1, width)
  return Score(jnp.sqrt(squares))


def doubled_gradient(x: Array, height, width) -> tuple[Array, Array]:
  """Twice the central gradient (across, down), integers; one-sided at the edges."""
  x = extend(x, height, width, 1, "replicate")
  across = x[1:-1, 2:] - x[1:-1, :-2]
  down = x[2:, 1:-1] - x[:-2, 1:-1]
  rows = lax.broadcasted_iota(jnp.int32, across.shape, 0)
  columns = lax.broadcasted_iota(jnp.int32, across.shape, 1)
  across = jnp.where((columns == 0) | (columns == width - 1), 2 * across, across)
  down = jnp.where((rows == 0) | (rows == height - 1), 2 * down, down)
  return across, down


def average_gradient(images: Images, convention: str) -> Score:
  """AG = mean sqrt((gx^2 + gy^2) / 2), in levels per pixel, g central and one-sided at the edges.

  `tang` divides the same sum over H W pixels by (H - 1)(W - 1).
  """
  height, width = images.height, images.width
  across, down = doubled_gradient(images.fused, height, width)
  strength = jnp.sqrt((across * across + down * down).astype(float) / 8)
  count = area(height - 1, width - 1) if convention == "tang" else area(height, width)
  return Score(total(strength, height, width) / count)


def sobel(x: Array, height, width, border: str) -> tuple[Array, Array]:
  """Integer Sobel differences (right minus left, below minus above), [H, W]."""
  x = extend(x, height, width, 1, border)
  columns = x[:-2] + 2 * x[1:-1] + x[2:]
  rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
  return columns[:, 2:] - columns[:, :-2], rows[2:] - rows[:-2]


def edge_intensity(images: Images, convention: str) -> Score:
  """EI = mean sqrt(X^2 + Y^2), X and Y the Sobel differences with the edge pixels repeated."""
  across, down = sobel(images.fused, images.height, images.width, "replicate")
  strength = jnp.sqrt((across * across + down * down).astype(float))
  return Score(mean(strength, images.height, images.width))
