"""Metrics on grey-level histograms: EN, CE, MI and NMI (METRICS sections 2 and 3)."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Metric, Score
from cfi_jax.metrics.windows import area, inside

LEVELS = 256


def histogram(x: Array, height, width) -> Array:
  """int32 [256]: how many pixels of the image have each level."""
  return _counts(jnp.where(inside(x.shape, height, width), x, LEVELS), LEVELS)


def joint_histogram(x: Array, y: Array, height, width) -> Array:
  """int32 [256, 256]: how many pixels have level i in x and level j in y."""
  code = jnp.where(inside(x.shape, height, width), x * LEVELS + y, LEVELS * LEVELS)
  return _counts(code, LEVELS * LEVELS).reshape(LEVELS, LEVELS)


def _counts(codes: Array, size: int) -> Array:
  return jnp.zeros(size, jnp.int32).at[codes.ravel()].add(1, mode="drop")


def entropy(counts: Array) -> Array:
  """Entropy in bits of a histogram; exactly +0.0 where one bin holds everything."""
  n = counts.astype(float)
  every = n.sum()
  present = n > 0
  return jnp.where(present, n / every * jnp.log2(every / jnp.where(present, n, every)), 0).sum()


def information(joint: Array) -> Array:
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


def _entropy(images: Images, convention: str) -> Score:
  del convention
  return Score(entropy(histogram(images.fused, images.height, images.width)))


def _cross_entropy(images: Images, convention: str) -> Score:
  del convention
  size = images.height, images.width
  smoothed = [
    (histogram(x, *size).astype(float) + 1) / (area(*size) + LEVELS)
    for x in (images.infrared, images.visible, images.fused)
  ]
  infrared, visible, fused = smoothed
  terms = infrared * jnp.log2(infrared / fused) + visible * jnp.log2(visible / fused)
  return Score(terms.sum() / 2)


def _mutual_information(images: Images, convention: str) -> Score:
  size = images.height, images.width
  value = 0.0
  for source in (images.infrared, images.visible):
    joint = joint_histogram(images.fused, source, *size)
    if convention == "tang":
      value += _saturated_information(joint)
    elif convention == "cddfuse":
      value += information(joint) * np.log(2.0)
    else:
      value += information(joint)
  return Score(value)


def _saturated_information(joint: Array) -> Array:
  """What the toolkit computes: levels 254 and 255 share a bin in the joint histogram only."""
  merged = joint[:, :255].at[:, 254].add(joint[:, 255])
  merged = merged[:255].at[254].add(merged[255])
  fused, source = joint.sum(axis=1), joint.sum(axis=0)
  return information(merged) + _merging_gain(fused) + _merging_gain(source)


def _merging_gain(counts: Array) -> Array:
  """Entropy in bits that an image loses when its levels 254 and 255 are merged."""
  p, q = counts[254:].astype(float) / counts.sum()
  return _plogp(p + q) - _plogp(p) - _plogp(q)


def _plogp(p: Array) -> Array:
  return jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0)


def _normalised_mutual_information(images: Images, convention: str) -> Score:
  del convention
  value, degenerate = 0.0, False
  for source in (images.infrared, images.visible):
    joint = joint_histogram(images.fused, source, images.height, images.width)
    entropies = entropy(joint.sum(axis=1)) + entropy(joint.sum(axis=0))
    empty = entropies == 0
    term = 2 * information(joint) / jnp.where(empty, 1, entropies)
    value += jnp.where(empty, 1.0, term)
    degenerate |= empty
  return Score(value, degenerate)


EN = Metric(
  name="EN",
  title="entropy",
  direction="higher",
  ranges=dict.fromkeys(("tang", "cddfuse", "strict"), (0.0, 8.0)),
  function=_entropy,
  unit="bits",
)

CE = Metric(
  name="CE",
  title="cross entropy of the histograms (add-one smoothed)",
  direction="lower",
  ranges={"strict": (0.0, float("inf"))},
  function=_cross_entropy,
  unit="bits",
)

MI = Metric(
  name="MI",
  title="mutual information, sum over the sources",
  direction="higher",
  # tang counts entropy of levels that it has merged: up to 1 bit more per image and source
  ranges={"tang": (0.0, 20.0), "cddfuse": (0.0, 16 * float(np.log(2.0))), "strict": (0.0, 16.0)},
  function=_mutual_information,
  unit="bits (cddfuse: nats)",
)

NMI = Metric(
  name="NMI",
  title="normalised mutual information (Hossny), sum over the sources",
  direction="higher",
  ranges={"strict": (0.0, 2.0)},
  function=_normalised_mutual_information,
)
