"""The three-scale MEF-SSIM (Ma et al. 2015) that the tang toolkit calls MS-SSIM."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images
from cfi_jax.metrics.windows import gaussian, halve, materialize, mean, moments, uniform

SIDE = 11
SCALE_WEIGHTS = np.array((0.0448, 0.2856, 0.3001)) / 0.6305
STABILISER = (0.03 * 255) ** 2
EPSILON = 2.0**-52  # of the toolkit's doubles; a float32 holds it too
LARGEST_POWER = 10.0
SATURATION = 0.93655  # tan(pi/2 x) is 10 here; beyond, the tangent may overflow


def toolkit_multiscale(images: Images) -> Array:
  """prod_l q_l^w_l over three scales, q the mean structure similarity of F to a reference patch.

  The reference is put together from both sources by their strength, as in multi-exposure fusion;
  there is no luminance term. NaN where a mean is negative: MATLAB gives a complex number.
  """
  arrays, height, width = images.floats(), images.height, images.width
  value = 1.0
  for scale, weight in enumerate(SCALE_WEIGHTS):
    if scale:
      arrays, height, width = halve(arrays, height, width)
    score = mean(_structure(arrays), height - SIDE + 1, width - SIDE + 1)
    value = value * jnp.where(score < 0, jnp.nan, jnp.abs(score) ** float(weight))
  return value


def _structure(arrays: Array) -> Array:
  """Map of the structure similarity of the fused image to the reference built from the sources.

  arrays: (infrared, visible, fused), [3, H, W].
  """
  _, flat = moments(arrays[:2], ((0, 0), (1, 1), (0, 1)), uniform(SIDE))
  gain_a, gain_b = materialize(_gains(flat[0, 0], flat[1, 1], flat[0, 1]))
  pairs = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
  _, g = moments(arrays, pairs, gaussian(SIDE, 1.5))
  reference = gain_a**2 * g[0, 0] + gain_b**2 * g[1, 1] + 2 * gain_a * gain_b * g[0, 1]
  shared = gain_a * g[0, 2] + gain_b * g[1, 2]
  return (2 * shared + STABILISER) / (reference + g[2, 2] + STABILISER)


def _norm(squared: Array) -> Array:
  return jnp.sqrt(jnp.maximum(SIDE * SIDE * squared, 0))


def _gains(variance_a: Array, variance_b: Array, covariance: Array) -> tuple[Array, Array]:
  """Factors k of each source in the reference patch, from uniform-window moments."""
  norm_a, norm_b = _norm(variance_a), _norm(variance_b)
  strength_a, strength_b = norm_a + 0.001, norm_b + 0.001
  agreement = (_norm(variance_a + variance_b + 2 * covariance) + EPSILON) / (
    norm_a + norm_b + EPSILON
  )
  power = jnp.where(
    agreement >= SATURATION,
    LARGEST_POWER,
    jnp.minimum(jnp.tan(np.pi / 2 * jnp.minimum(agreement, SATURATION)), LARGEST_POWER),
  )
  weight_a = (strength_a / SIDE) ** power + EPSILON
  weight_b = (strength_b / SIDE) ** power + EPSILON
  gain_a = weight_a / (weight_a + weight_b) / strength_a
  gain_b = weight_b / (weight_a + weight_b) / strength_b
  patch = _norm(gain_a**2 * variance_a + gain_b**2 * variance_b + 2 * gain_a * gain_b * covariance)
  scale = jnp.where(
    patch > 0, jnp.maximum(strength_a, strength_b) / jnp.where(patch > 0, patch, 1), 1
  )
  return gain_a * scale, gain_b * scale
