"""Metrics of the fused image alone: SD, SF, AG and EI (METRICS section 2)."""

import jax.numpy as jnp
from jax import lax

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Metric, Score
from cfi_jax.metrics.windows import area, extend, extremes, materialize, mean, total


def centred(x: Array, height, width) -> Array:
  """Float x minus its mean over the image; integers are moved by an exact integer first."""
  low, high = extremes(x, height, width)
  pivot = jnp.clip(jnp.round(mean(x, height, width)).astype(x.dtype), low, high)
  offset = (x - pivot).astype(float)
  return materialize(offset - mean(offset, height, width))


def _standard_deviation(images: Images, convention: str) -> Score:
  del convention
  x = centred(images.fused, images.height, images.width)
  return Score(jnp.sqrt(mean(x * x, images.height, images.width)))


def _spatial_frequency(images: Images, convention: str) -> Score:
  del convention
  x, height, width = images.fused, images.height, images.width
  across = x[:, 1:] - x[:, :-1]
  down = x[1:] - x[:-1]
  squares = mean(across * across, height, width - 1) + mean(down * down, height - 1, width)
  return Score(jnp.sqrt(squares))


def doubled_gradient(x: Array, height, width) -> tuple[Array, Array]:
  """Twice the central gradient (across, down), integers; one-sided at the edges (section 1.3)."""
  x = extend(x, height, width, 1, "replicate")
  across = x[1:-1, 2:] - x[1:-1, :-2]
  down = x[2:, 1:-1] - x[:-2, 1:-1]
  rows = lax.broadcasted_iota(jnp.int32, across.shape, 0)
  columns = lax.broadcasted_iota(jnp.int32, across.shape, 1)
  across = jnp.where((columns == 0) | (columns == width - 1), 2 * across, across)
  down = jnp.where((rows == 0) | (rows == height - 1), 2 * down, down)
  return across, down


def _average_gradient(images: Images, convention: str) -> Score:
  height, width = images.height, images.width
  across, down = doubled_gradient(images.fused, height, width)
  strength = jnp.sqrt((across * across + down * down).astype(float) / 8)
  count = area(height - 1, width - 1) if convention == "tang" else area(height, width)
  return Score(total(strength, height, width) / count)


def sobel(x: Array, height, width, border: str) -> tuple[Array, Array]:
  """Integer Sobel differences (right minus left, below minus above), [H, W] (section 1.4)."""
  x = extend(x, height, width, 1, border)
  columns = x[:-2] + 2 * x[1:-1] + x[2:]
  rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
  return columns[:, 2:] - columns[:, :-2], rows[2:] - rows[:-2]


def _edge_intensity(images: Images, convention: str) -> Score:
  del convention
  across, down = sobel(images.fused, images.height, images.width, "replicate")
  strength = jnp.sqrt((across * across + down * down).astype(float))
  return Score(mean(strength, images.height, images.width))


SD = Metric(
  name="SD",
  title="standard deviation",
  direction="higher",
  ranges=dict.fromkeys(("tang", "cddfuse", "strict"), (0.0, 127.5)),
  function=_standard_deviation,
  unit="levels",
)

SF = Metric(
  name="SF",
  title="spatial frequency",
  direction="higher",
  ranges=dict.fromkeys(("tang", "cddfuse", "strict"), (0.0, 360.6244584051392)),
  function=_spatial_frequency,
  minimum_sides=2,
  unit="levels",
)

AG = Metric(
  name="AG",
  title="average gradient",
  direction="higher",
  # tang divides a sum over H W pixels by (H-1)(W-1): at most 4 times the mean, at 2x2
  ranges={"tang": (0.0, 1020.0), "cddfuse": (0.0, 255.0), "strict": (0.0, 255.0)},
  function=_average_gradient,
  minimum_sides=2,
  unit="levels per pixel",
)

EI = Metric(
  name="EI",
  title="edge intensity (mean Sobel magnitude)",
  direction="higher",
  ranges={"strict": (0.0, 1442.4978336205573)},
  function=_edge_intensity,
  minimum_sides=2,
  unit="levels",
)
