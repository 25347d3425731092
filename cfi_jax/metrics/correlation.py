"""Correlation and error metrics: CC, SCD, MSE and PSNR (METRICS section 4)."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Metric, Score
from cfi_jax.metrics.statistics import centred
from cfi_jax.metrics.windows import constant, extremes, mean

PEAK = 255.0


def _correlation(x: Array, y: Array, images: Images, convention: str) -> tuple[Array, Array]:
  """Pearson correlation of two integer maps, and whether one of them is constant.

  A constant operand gives NaN in both toolkits and 0 in `strict`.
  """
  size = images.height, images.width
  flat = constant(x, *size) | constant(y, *size)
  x, y = centred(x, *size), centred(y, *size)
  norm = jnp.sqrt(mean(x * x, *size)) * jnp.sqrt(mean(y * y, *size))
  undefined = 0.0 if convention == "strict" else jnp.nan
  return jnp.where(flat, undefined, mean(x * y, *size) / jnp.where(flat, 1, norm)), flat


def _correlation_coefficient(images: Images, convention: str) -> Score:
  infrared, flat = _correlation(images.infrared, images.fused, images, convention)
  visible, flat_too = _correlation(images.visible, images.fused, images, convention)
  return Score((infrared + visible) / 2, flat | flat_too)


def _correlations_of_differences(images: Images, convention: str) -> Score:
  visible, infrared, fused = images.visible, images.infrared, images.fused
  from_infrared, flat = _correlation(fused - visible, infrared, images, convention)
  from_visible, flat_too = _correlation(fused - infrared, visible, images, convention)
  return Score(from_infrared + from_visible, flat | flat_too)


def _error(images: Images) -> Array:
  """Mean over both sources of the mean squared difference, in squared levels."""
  size = images.height, images.width
  infrared, visible = images.fused - images.infrared, images.fused - images.visible
  return (mean(infrared * infrared, *size) + mean(visible * visible, *size)) / 2


def _mean_squared_error(images: Images, convention: str) -> Score:
  scale = PEAK**2 if convention == "tang" else 1.0
  return Score(_error(images) / scale)


def _peak_signal_to_noise_ratio(images: Images, convention: str) -> Score:
  error = _error(images)
  value = 10 * jnp.log10(PEAK**2 / error)
  if convention == "tang":  # a peak of 255 over an error of [0, 1] images
    value += 20 * np.log10(PEAK)
  elif convention == "cddfuse":  # the peak is the image's own maximum
    highest = extremes(images.fused, images.height, images.width)[1].astype(float)
    value = 10 * jnp.log10(highest**2 / error)
  return Score(value, ~jnp.isfinite(value))


CC = Metric(
  name="CC",
  title="correlation coefficient, mean over the sources",
  direction="higher",
  ranges=dict.fromkeys(("tang", "cddfuse", "strict"), (-1.0, 1.0)),
  function=_correlation_coefficient,
)

SCD = Metric(
  name="SCD",
  title="sum of the correlations of differences",
  direction="higher",
  ranges=dict.fromkeys(("tang", "cddfuse", "strict"), (-2.0, 2.0)),
  function=_correlations_of_differences,
)

MSE = Metric(
  name="MSE",
  title="mean squared error, mean over the sources",
  direction="lower",
  ranges={"tang": (0.0, 1.0), "cddfuse": (0.0, PEAK**2), "strict": (0.0, PEAK**2)},
  function=_mean_squared_error,
  unit="squared levels (tang: of images in [0, 1])",
)

PSNR = Metric(
  name="PSNR",
  title="peak signal-to-noise ratio",
  direction="higher",
  ranges={
    "tang": (20 * float(np.log10(PEAK)), float("inf")),
    "cddfuse": (-float("inf"), float("inf")),
    "strict": (0.0, float("inf")),
  },
  function=_peak_signal_to_noise_ratio,
  unit="dB",
)
