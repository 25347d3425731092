"""Metrics on grey-level histograms: EN, CE, MI and NMI."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.windows import area, inside

LEVELS = 256


def _histogram(x: Array, height, width) -> Array:
  """Number of pixels of each level, int32 [256]."""
  return _counts(jnp.where(inside(x.shape, height, width), x, LEVELS), LEVELS)


def _joint_histogram(x: Array, y: Array, height, width) -> Array:
  """Number of pixels with level i in x and level j in y, int32 [256, 256]."""
  code = jnp.where(inside(x.shape, height, width), x * LEVELS + y, LEVELS * LEVELS)
  return _counts(code, LEVELS * LEVELS).reshape(LEVELS, LEVELS)


def _counts(codes: Array, size: int) -> Array:
  return jnp.zeros(size, jnp.int32).at[codes.ravel()].add(1, mode="drop")


def _entropy(counts: Array) -> Array:
  """Entropy in bits of a histogram; exactly +0.0 where one bin holds everything."""
  n = counts.astype(float)
  every = n.sum()
  present = n > 0
  return jnp.where(present, n / every * jnp.log2(every / jnp.where(present, n, every)), 0).sum()


def _information(joint: Array) -> Array:
  """Mutual information in bits of a joint histogram."""
  n = joint.astype(float)
  rows = n.sum(axis=1, keepdims=True)
  columns = n.sum(axis=0, keepdims=True)
  every = n.sum()
  present = n > 0
  safe = jnp.where(present, n, 1)
  ratio = (safe / jnp.where(rows > 0, rows, 1)) * (every / jnp.where(columns > 0, columns, 1))
  bits = jnp.where(present, n / every * jnp.log2(jnp.where(present, ratio, 1)), 0)
  return jnp.maximum(bits.sum(axis=0).sum(), 0)


def entropy(images: Images, convention: str) -> Score:
  """EN = -sum_k p_k log2 p_k in bits, p_k the share of the pixels of level k."""
  return Score(_entropy(_histogram(images.fused, images.height, images.width)))


def cross_entropy(images: Images, convention: str) -> Score:
  """CE = (D(h_I, h_F) + D(h_V, h_F)) / 2 in bits, D(a, b) = sum_k a_k log2(a_k / b_k).

  h are histograms with one pixel added to each of the 256 levels, so that D is finite and never
  negative; the common form leaves out empty levels, and calls disjoint histograms equal.
  """
  size = images.height, images.width
  smoothed = [
    (_histogram(x, *size).astype(float) + 1) / (area(*size) + LEVELS)
    for x in (images.infrared, images.visible, images.fused)
  ]
  infrared, visible, fused = smoothed
  terms = infrared * jnp.log2(infrared / fused) + visible * jnp.log2(visible / fused)
  return Score(terms.sum() / 2)


def mutual_information(images: Images, convention: str) -> Score:
  """MI = M(F, I) + M(F, V), M(a, b) = sum p_ij log2(p_ij / (p_i p_j)) over the joint histogram.

  Source: Qu, Zhang and Yan 2002. In bits; `cddfuse`: in nats. `tang` joins levels 254 and 255 in
  the joint histogram but not in those of single images, which adds up to 1.85 %.
  """
  size = images.height, images.width
  value = 0.0
  for source in (images.infrared, images.visible):
    joint = _joint_histogram(images.fused, source, *size)
    if convention == "tang":
      value += _saturated_information(joint)
    elif convention == "cddfuse":
      value += _information(joint) * np.log(2.0)
    else:
      value += _information(joint)
  return Score(value)


def _saturated_information(joint: Array) -> Array:
  """Mutual information with levels 254 and 255 in one bin of the joint histogram only."""
  merged = joint[:, :255].at[:, 254].add(joint[:, 255])
  merged = merged[:255].at[254].add(merged[255])
  fused, source = joint.sum(axis=1), joint.sum(axis=0)
  return _information(merged) + _merging_gain(fused) + _merging_gain(source)


def _merging_gain(counts: Array) -> Array:
  """Entropy in bits that an image loses when its levels 254 and 255 are merged."""
  p, q = counts[254:].astype(float) / counts.sum()
  return _plogp(p + q) - _plogp(p) - _plogp(q)


def _plogp(p: Array) -> Array:
  return jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0)


def normalised_mutual_information(images: Images, convention: str) -> Score:
  """NMI = 2 M(F, I) / (H(F) + H(I)) + 2 M(F, V) / (H(F) + H(V)), M as in MI, H as in EN.

  Source: Hossny, Nahavandi and Creighton 2008. A term of two constant images is 1.
  """
  value, degenerate = 0.0, False
  for source in (images.infrared, images.visible):
    joint = _joint_histogram(images.fused, source, images.height, images.width)
    entropies = _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0))
    empty = entropies == 0
    term = 2 * _information(joint) / jnp.where(empty, 1, entropies)
    value += jnp.where(empty, 1.0, term)
    degenerate |= empty
  return Score(value, degenerate)
