"""Structural similarity: SSIM and strict MS-SSIM."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.mef import toolkit_multiscale
from cfi_jax.metrics.windows import extend, gaussian, halve, materialize, mean, moments

WINDOW = gaussian(11, 1.5)
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 2), (1, 2))  # of (infrared, visible, fused)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang 2003; sum 1.0001 as published
SIDE = len(WINDOW)
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


def structural_similarity(images: Images, convention: str) -> Score:
  """SSIM = (S(I, F) + S(V, F)) / 2, S the mean of luminance times contrast-structure over windows.

  S = (2 mx my + C1) / (mx^2 + my^2 + C1) * (2 cxy + C2) / (vx + vy + C2), with means m, variances v
  and covariance c of a window, C1 = (0.01 L)^2 and C2 = (0.03 L)^2. Source: Wang et al. 2004.
  `strict`: Gaussian 11x11 of deviation 1.5, full windows, L = 255. `tang`: edge pixels repeated and
  L = 1, although levels reach 255. `cddfuse`: uniform 7x7, sample covariance, L = 2, and the sum
  over the sources.
  """
  if convention == "cddfuse":
    return Score(_box_similarity(images))
  height, width = images.height, images.width
  arrays, data_range = images.floats(), PEAK_BY_CONVENTION[convention]
  margin = SIDE // 2
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


def multiscale(images: Images, convention: str) -> Score:
  """MS-SSIM: the product over scales of mean contrast-structure, mean over the sources.

  `strict`: five scales, the last one with luminance, weights and halving of Wang et al. 2003; a
  negative mean counts as 0. `tang`: `mef.toolkit_multiscale`, which is another measure.
  """
  if convention == "tang":
    value = toolkit_multiscale(images)
    return Score(value, ~jnp.isfinite(value))
  arrays, height, width = images.floats(), images.height, images.width
  shrink = SIDE - 1
  values = [1.0, 1.0]
  for scale, weight in enumerate(SCALE_WEIGHTS):
    if scale:
      arrays, height, width = halve(arrays, height, width)
    for source, (luminance, contrast) in enumerate(_gaussian_maps(arrays, 255.0)):
      last = scale == len(SCALE_WEIGHTS) - 1
      score = mean(luminance * contrast if last else contrast, height - shrink, width - shrink)
      values[source] *= jnp.maximum(score, 0) ** weight
  return Score(sum(values) / 2)
