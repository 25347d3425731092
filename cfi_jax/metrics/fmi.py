"""Feature mutual information over 3x3 windows (Fast-FMI, Haghighat and Razian 2014).

Every window of a source map and of the fused map is read as a distribution over its nine cells;
their joint distribution is modelled by the Frechet bound that their correlation points to.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.windows import constant, materialize, mean

CELLS = 9
STRIP_WINDOWS = 2**13
TINY = 1e-30  # stands for 0 inside a logarithm whose factor is 0


class _Windows(NamedTuple):
  """All 3x3 windows of a feature map as distributions; every array [..., H - 2, W - 2].

  raw: the nine values, column by column (the order matters), [9, ...].
  probability: each cell's share of the window, [9, ...]; 1/9 in a flat window.
  cumulative: its running sums, [9, ...].
  spread: standard deviation of the cell number. entropy: in nats (the score is a ratio).
  flat: all values equal. single: all weight in one cell.
  """

  raw: Array
  probability: Array
  cumulative: Array
  spread: Array
  entropy: Array
  flat: Array
  single: Array


def _windows(x: Array) -> _Windows:
  height, width = x.shape[0] - 2, x.shape[1] - 2
  values = [x[r : r + height, c : c + width] for c in range(3) for r in range(3)]
  low = functools.reduce(jnp.minimum, values)
  flat = functools.reduce(jnp.maximum, values) == low
  low, flat = materialize((low, flat))
  raw = materialize(jnp.stack(values))
  weights = materialize(jnp.where(flat[None], 1.0, raw - low[None]))
  lower = jnp.tril(jnp.ones((CELLS, CELLS)))  # running sums as a product: much the fastest here
  sums = materialize(jnp.tensordot(lower, weights, 1, precision=lax.Precision.HIGHEST))
  probability, cumulative = materialize((weights / sums[-1:], sums / sums[-1:]))
  cells = range(CELLS)
  centre = sum((i + 1) * probability[i] for i in cells)
  spread = jnp.sqrt(sum((i + 1 - centre) ** 2 * probability[i] for i in cells))
  entropy = -sum(_plogp(probability[i]) for i in cells)
  single = sum((weights[i] > 0).astype(jnp.int32) for i in cells) == 1
  return _Windows(raw, probability, cumulative, *materialize((spread, entropy)), flat, single)


def _plogp(p: Array) -> Array:
  """p ln |p|, 0 at 0."""
  return p * jnp.log(jnp.maximum(jnp.abs(p), TINY))


def _correlation(source: _Windows, fused: _Windows) -> Array:
  """Pearson correlation of the nine pairs of shares; 0 where a window is flat."""
  a = [p - 1 / CELLS for p in source.probability]
  b = [p - 1 / CELLS for p in fused.probability]
  product = sum(x * y for x, y in zip(a, b, strict=True))
  norm = jnp.sqrt(sum(x * x for x in a)) * jnp.sqrt(sum(y * y for y in b))
  undefined = source.flat | fused.flat
  return jnp.where(undefined, 0.0, product / jnp.where(undefined, 1.0, norm))


def _joint_entropy(source: _Windows, fused: _Windows) -> Array:
  """Entropy in nats of the modelled joint distribution J = t m + (1 - t) f p, per window.

  m is the second difference of the Frechet bound M(i, j): min(F_i, P_j) for c >= 0, else
  max(F_i + P_j - 1, 0) = F_i - min(F_i, 1 - P_j). With Q = P or 1 - P one minimum N = min(F_i, Q_j)
  serves both: the bound's covariance and its second difference are those of N times the sign of c.
  """
  correlation = materialize(_correlation(source, fused))
  rising = correlation >= 0
  sign = jnp.where(rising, 1.0, -1.0)
  edge = jnp.zeros_like(source.cumulative[:1])
  upper = jnp.concatenate((edge, source.cumulative))  # P_0 .. P_9
  q = materialize(jnp.where(rising[None], upper, 1 - upper))
  excess = sum(
    jnp.minimum(fused.cumulative[i][None], q[1:]) - fused.cumulative[i][None] * q[1:]
    for i in range(CELLS)
  )
  covariance = sign * _cell_sum(excess)
  scale = correlation * source.spread * fused.spread
  t = materialize(jnp.where(scale == 0, 0.0, scale / jnp.where(scale == 0, 1.0, covariance)))
  signed, rest = materialize(((t * sign)[None], (1 - t)[None]))
  below = jnp.zeros_like(q)
  terms = 0.0
  for i in range(CELLS):
    bound = jnp.minimum(fused.cumulative[i][None], q)
    step = bound - below  # differencing along i first keeps cells off the staircase exactly 0
    below = bound
    mass = signed * (step[1:] - step[:-1])
    terms -= _plogp(mass + rest * (fused.probability[i][None] * source.probability))
  return _cell_sum(terms)


def _cell_sum(x: Array) -> Array:
  """Sum over the nine cells of axis 0."""
  x = materialize(x)
  return sum(x[i] for i in range(CELLS))


def _window_scores(source: _Windows, fused: _Windows, convention: str) -> Array:
  """Normalised mutual information of each pair of windows, [H - 2, W - 2]."""
  entropies = source.entropy + fused.entropy
  some = entropies > 0
  shared = entropies - _joint_entropy(source, fused)
  value = jnp.where(some, 2 * shared / jnp.where(some, entropies, 1.0), 0.0)
  value = jnp.where(source.flat != fused.flat, 0.0, value)
  equal = functools.reduce(jnp.logical_and, list(source.raw == fused.raw))
  both_single = source.single & fused.single
  value = jnp.where(both_single, 0.0, value)
  if convention == "strict":
    same_cell = functools.reduce(jnp.logical_and, list(source.probability == fused.probability))
    equal |= both_single & same_cell
  return jnp.where(equal | (source.flat & fused.flat), 1.0, value)


def _strip_scores(maps: Array, convention: str) -> Array:
  """Scores [2, H - 2, W - 2] of maps (infrared, visible, fused) [3, H, W]."""
  windows = lax.map(_windows, maps)  # a loop compiles its body once
  sources = jax.tree.map(lambda x: x[:2], windows)
  fused = jax.tree.map(lambda x: x[2], windows)
  return lax.map(lambda source: _window_scores(source, fused, convention), sources)


def _in_strips(maps: Array, convention: str) -> Array:
  """Scores of whole maps by strips of rows: 81 cells for all windows at once exceed the caches."""
  height, width = maps.shape[1] - 2, maps.shape[2]
  rows = min(height, max(1, STRIP_WINDOWS // width))
  count = -(-height // rows)
  maps = jnp.pad(maps, ((0, 0), (0, count * rows - height), (0, 0)))
  strips = lax.map(
    lambda k: _strip_scores(lax.dynamic_slice_in_dim(maps, k * rows, rows + 2, axis=1), convention),
    jnp.arange(count),
  )
  return jnp.swapaxes(strips, 0, 1).reshape(2, count * rows, width - 2)[:, :height]


@functools.partial(jax.jit, static_argnames="convention")
def _mean_score(maps: list[Array], height, width, convention: str) -> Array:
  """FMI of feature maps [infrared, visible, fused].

  Jitted by itself, so that metrics that are called without jit compile it once for all features.
  """
  infrared, visible = _in_strips(materialize(jnp.stack(maps)), convention)
  return (mean(infrared, height - 2, width - 2) + mean(visible, height - 2, width - 2)) / 2


def feature_mutual_information(
  images: Images, convention: str, feature: Callable[[Array, Array, Array], Array]
) -> Score:
  """FMI = mean over windows of (M(I, F) + M(V, F)) / 2, M = 2 (H_S + H_F - H_SF) / (H_S + H_F).

  H are the entropies of the windows of `feature` maps. Equal windows give 1, two flat ones too, a
  flat one beside another 0. Of two different windows with all weight in one cell, `tang` makes 0
  and `strict` 1 where the cell is the same.
  """
  height, width = images.height, images.width
  maps = [feature(x, height, width) for x in (images.infrared, images.visible, images.fused)]
  value = _mean_score(maps, height, width, convention)
  empty = constant(images.infrared, height, width) | constant(images.visible, height, width)
  return Score(value, empty if convention == "strict" else False)
