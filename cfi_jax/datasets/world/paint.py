"""Painting with broadcasting: pixel grids, value noise, layers; no gather, no loop over pixels.

Lengths are in image heights, y points down, the picture is the unit square.
"""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array

_OCTAVES = (4, 8, 16, 32)  # cells of the noise lattices, each half as strong as the one before
NOISE_DRAWS = sum((cells + 1) ** 2 for cells in _OCTAVES)


def grid(size: int) -> tuple[Array, Array]:
  """Pixel centres: y [size, 1] and x [1, size]."""
  centres = (np.arange(size, dtype=np.float32) + 0.5) / size
  return centres[:, None], centres[None, :]


def smooth(t: Array) -> Array:
  """0 below 0, 1 above 1, and smoothly (3t^2 - 2t^3) between."""
  t = jnp.clip(t, 0, 1)
  return t * t * (3 - 2 * t)


def noise(draws: Array, rows: Array, cols: Array) -> Array:
  """Value noise of four octaves, [N, H, W] in [-1, 1] with mean about 0.

  draws: uniform numbers in [0, 1), [N, NOISE_DRAWS]. rows [H], cols [W]: coordinates in [0, 1],
  equally spaced or warped.
  """
  total, start = 0.0, 0
  for octave, cells in enumerate(_OCTAVES):
    lattice = draws[:, start : start + (cells + 1) ** 2].reshape(-1, cells + 1, cells + 1)
    start += (cells + 1) ** 2
    knots = np.arange(cells + 1, dtype=np.float32)[None, :]
    down = smooth(1 - jnp.abs(rows[:, None] * cells - knots))
    across = smooth(1 - jnp.abs(cols[:, None] * cells - knots))
    value = jnp.einsum("yi,nij,xj->nyx", down, lattice, across, precision="highest")
    total = total + value * 0.5**octave
  full = sum(0.5**octave for octave in range(len(_OCTAVES)))
  return 2 * total / full - 1


def over(alpha: Array) -> Array:
  """Share of each of K layers in the picture, painted in order (the last on top).

  alpha and result [K, S, S]: alpha_k times the product of 1 - alpha_j over all j > k, as a sum of
  logarithms, which compiles faster than a cumulative product.
  """
  above = np.triu(np.ones((len(alpha), len(alpha)), np.float32), 1)
  clear = jnp.log(jnp.maximum(1 - alpha, 1e-12))
  return alpha * jnp.exp(jnp.einsum("kj,jyx->kyx", above, clear, precision="highest"))


def paint(below: Array, share: Array, layers: Array) -> Array:
  """`below` [S, S] under K layers with their shares [K, S, S]; layers broadcast to [K, S, S]."""
  return below * (1 - share.sum(0)) + (share * layers).sum(0)
