"""Visual information fidelity in the pixel domain."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.windows import constant, gaussian, moments, smooth, total

WINDOW_SIDES = (17, 9, 5, 3)  # one scale each
NOISE_VARIANCE = 2.0  # of the visual system, for levels 0..255
TINY = 1e-10
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 2), (1, 2))  # of (infrared, visible, fused)


def _information(reference: Array, distorted: Array, covariance: Array) -> tuple[Array, Array]:
  """Maps of what the distorted image keeps of the reference, and of what the reference holds."""
  reference, distorted = jnp.maximum(reference, 0), jnp.maximum(distorted, 0)
  gain = covariance / (reference + TINY)
  noise = distorted - gain * covariance
  no_reference, no_distorted = reference < TINY, distorted < TINY
  gain = jnp.where(no_reference, 0, gain)
  noise = jnp.where(no_reference, distorted, noise)
  reference = jnp.where(no_reference, 0, reference)
  gain = jnp.where(no_distorted, 0, gain)
  noise = jnp.where(no_distorted, 0, noise)
  opposed = gain < 0
  noise = jnp.where(opposed, distorted, noise)
  gain = jnp.where(opposed, 0, gain)
  noise = jnp.maximum(noise, TINY)
  kept = jnp.log1p(gain * gain * reference / (noise + NOISE_VARIANCE))
  return kept, jnp.log1p(reference / NOISE_VARIANCE)


@jax.jit
def _totals(images: Images) -> tuple[Array, Array]:
  """Information kept and held, summed over the scales; each [2], (infrared, visible)."""
  height, width = images.height, images.width
  arrays = images.floats()
  kept, held = [0.0, 0.0], [0.0, 0.0]
  for scale, side in enumerate(WINDOW_SIDES):
    taps = gaussian(side, side / 5)
    if scale:
      arrays = [smooth(x, taps)[::2, ::2] for x in arrays]
      height, width = (height - side + 2) // 2, (width - side + 2) // 2
    _, covariances = moments(arrays, PAIRS, taps)
    for source in (0, 1):
      maps = _information(covariances[source, source], covariances[2, 2], covariances[source, 2])
      kept[source] += total(maps[0], height - side + 1, width - side + 1)
      held[source] += total(maps[1], height - side + 1, width - side + 1)
  return jnp.stack(kept), jnp.stack(held)


def visual_information_fidelity(images: Images, convention: str) -> Score:
  """VIF = VIFp(I, F) + VIFp(V, F): the information about a source that F keeps, over all it holds.

  VIFp = sum log(1 + g^2 v / (u + 2)) / sum log(1 + v / 2) over the windows of four scales: v is the
  source's variance, g = c / v its gain in F, u = v_F - g c what is left. Windows are Gaussian, of
  17, 9, 5 and 3 pixels and deviation side / 5. Source: Sheikh and Bovik 2006, in the pixel domain.
  A constant source gives NaN in `tang` and 1 else.
  """
  kept, held = _totals(images)
  undefined = jnp.nan if convention == "tang" else 1.0
  value, degenerate = 0.0, False
  for source, image in enumerate((images.infrared, images.visible)):
    flat = constant(image, images.height, images.width)
    value += jnp.where(flat, undefined, kept[source] / jnp.where(flat, 1, held[source]))
    degenerate |= flat
  return Score(value, degenerate)
