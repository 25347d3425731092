"""Correlation and error metrics: CC, SCD, MSE and PSNR."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
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


def correlation_coefficient(images: Images, convention: str) -> Score:
  """CC = (r(I, F) + r(V, F)) / 2, r Pearson's correlation over the pixels.

  With a constant image r is NaN in both toolkits and 0 in `strict`.
  """
  infrared, flat = _correlation(images.infrared, images.fused, images, convention)
  visible, flat_too = _correlation(images.visible, images.fused, images, convention)
  return Score((infrared + visible) / 2, flat | flat_too)


def correlations_of_differences(images: Images, convention: str) -> Score:
  """SCD = r(F - V, I) + r(F - I, V): each source against what the other one does not explain.

  Source: Aslantas and Bendes 2015. NaN (`strict`: 0) for a term whose difference is constant, as
  where F is a source.
  """
  visible, infrared, fused = images.visible, images.infrared, images.fused
  from_infrared, flat = _correlation(fused - visible, infrared, images, convention)
  from_visible, flat_too = _correlation(fused - infrared, visible, images, convention)
  return Score(from_infrared + from_visible, flat | flat_too)


def _error(images: Images) -> Array:
  """Mean over both sources of the mean squared difference, in squared levels."""
  size = images.height, images.width
  infrared, visible = images.fused - images.infrared, images.fused - images.visible
  return (mean(infrared * infrared, *size) + mean(visible * visible, *size)) / 2


def mean_squared_error(images: Images, convention: str) -> Score:
  """MSE = (mean (F - I)^2 + mean (F - V)^2) / 2, in squared levels; `tang`: divided by 255^2."""
  scale = PEAK**2 if convention == "tang" else 1.0
  return Score(_error(images) / scale)


def peak_signal_to_noise_ratio(images: Images, convention: str) -> Score:
  """PSNR = 10 log10(255^2 / MSE) in dB; infinite where both sources equal F.

  `tang` takes a peak of 255 over an error of images in [0, 1], 48.13 dB more. `cddfuse` takes the
  maximum of F for the peak.
  """
  error = _error(images)
  value = 10 * jnp.log10(PEAK**2 / error)
  if convention == "tang":
    value += 20 * np.log10(PEAK)
  elif convention == "cddfuse":
    highest = extremes(images.fused, images.height, images.width)[1].astype(float)
    value = 10 * jnp.log10(highest**2 / error)
  return Score(value, ~jnp.isfinite(value))
