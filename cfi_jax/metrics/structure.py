"""Structural similarity: SSIM and strict MS-SSIM (METRICS section 5)."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Metric, Score
from cfi_jax.metrics.mef import toolkit_multiscale
from cfi_jax.metrics.windows import extend, gaussian, halve, materialize, mean, moments

WINDOW = gaussian(11, 1.5)
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 2), (1, 2))  # of (infrared, visible, fused)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003; sum 1.0001 as published
BOX = 7  # cddfuse: scikit-image's default window


def _constants(data_range: float) -> tuple[float, float]:
  return (0.01 * data_range) ** 2, (0.03 * data_range) ** 2


def _ratio(product: Array, first: Array, second: Array, constant: float) -> Array:
  """(2 product + C) / (first + second + C): both factors of SSIM have this form."""
  return (2 * product + constant) / (first + second + constant)


def _gaussian_maps(arrays: Array, data_range: float) -> list[tuple[Array, Array]]:
  """Per source (luminance, contrast-structure) maps against the fused image, full windows.

  arrays: (infrared, visible, fused), [3, H, W].
  """
  c1, c2 = _constants(data_range)
  means, covariances = moments(arrays, PAIRS, WINDOW)
  return [
    (
      _ratio(means[source] * means[2], means[source] ** 2, means[2] ** 2, c1),
      _ratio(covariances[source, 2], covariances[source, source], covariances[2, 2], c2),
    )
    for source in (0, 1)
  ]


def _structural_similarity(images: Images, convention: str) -> Score:
  if convention == "cddfuse":
    return Score(_box_similarity(images))
  height, width = images.height, images.width
  arrays, data_range = images.floats(), PEAK_BY_CONVENTION[convention]
  margin = len(WINDOW) // 2
  if convention == "tang":
    arrays = jax.vmap(lambda x: extend(x, height, width, margin, "replicate"))(arrays)
  else:
    height, width = height - 2 * margin, width - 2 * margin
  maps = _gaussian_maps(arrays, data_range)
  terms = [mean(luminance * contrast, height, width) for luminance, contrast in maps]
  return Score(sum(terms) / 2)


# MATLAB's ssim takes a dynamic range of 1 for any double image, the toolkit's 0..255 data included
PEAK_BY_CONVENTION = {"tang": 1.0, "strict": 255.0}


def _box_sums(x: Array) -> Array:
  """Integer sums over 7x7 windows."""
  rows = sum(x[:, k : x.shape[1] - BOX + 1 + k] for k in range(BOX))
  rows = materialize(rows)
  return materialize(sum(rows[k : rows.shape[0] - BOX + 1 + k] for k in range(BOX)))


def _box_similarity(images: Images) -> Array:
  """scikit-image 0.19's SSIM of float data: 7x7 uniform window, data range 2, sample covariance.

  n S(xy) - S(x) S(y) is exact in int32: at most 1.6e8.
  """
  c1, c2 = _constants(2.0)
  count = BOX * BOX
  size = images.height - BOX + 1, images.width - BOX + 1
  sums = [_box_sums(x) for x in (images.infrared, images.visible, images.fused)]
  arrays = (images.infrared, images.visible, images.fused)

  def covariance(i, j):
    exact = count * _box_sums(arrays[i] * arrays[j]) - sums[i] * sums[j]
    return exact.astype(float) / (count * (count - 1))

  means = [s.astype(float) / count for s in sums]
  spread = covariance(2, 2)
  value = 0.0
  for source in (0, 1):
    luminance = _ratio(means[source] * means[2], means[source] ** 2, means[2] ** 2, c1)
    contrast = _ratio(covariance(source, 2), covariance(source, source), spread, c2)
    value += mean(luminance * contrast, *size)
  return value


def _multiscale(images: Images, convention: str) -> Score:
  if convention == "tang":
    value = toolkit_multiscale(images)
    return Score(value, ~jnp.isfinite(value))
  arrays, height, width = images.floats(), images.height, images.width
  shrink = len(WINDOW) - 1
  values = [1.0, 1.0]
  for scale, weight in enumerate(SCALE_WEIGHTS):
    if scale:
      arrays, height, width = halve(arrays, height, width)
    for source, (luminance, contrast) in enumerate(_gaussian_maps(arrays, 255.0)):
      last = scale == len(SCALE_WEIGHTS) - 1
      score = mean(luminance * contrast if last else contrast, height - shrink, width - shrink)
      values[source] *= jnp.maximum(score, 0) ** weight
  return Score(sum(values) / 2)


SSIM = Metric(
  name="SSIM",
  title="structural similarity, mean (cddfuse: sum) over the sources",
  direction="higher",
  ranges={"tang": (-1.0, 1.0), "cddfuse": (-2.0, 2.0), "strict": (-1.0, 1.0)},
  function=_structural_similarity,
  # tang replicates the border, so that any image holds its 11x11 window
  minimum_sides={"tang": 1, "cddfuse": BOX, "strict": 11},
)

MS_SSIM = Metric(
  name="MS_SSIM",
  title="multi-scale structural similarity (tang: a three-scale MEF-SSIM, not Wang's)",
  direction="higher",
  ranges={"tang": (-1.0, 1.0), "strict": (0.0, 1.0)},
  function=_multiscale,
  minimum_sides={"tang": 44, "strict": 176},
)
