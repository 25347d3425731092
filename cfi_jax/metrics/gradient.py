"""Gradient-transfer metrics: Qabf and Nabf."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.metrics.definition import Images, Score
from cfi_jax.metrics.statistics import sobel
from cfi_jax.metrics.windows import total

HALF_TURN = float(np.pi)
RIGHT_ANGLE = float(np.pi / 2)


def _strength_kept(ratio: Array) -> Array:
  return 0.9994 / (1 + jnp.exp(-15 * (ratio - 0.5)))


def _orientation_kept(agreement: Array) -> Array:
  return 0.9879 / (1 + jnp.exp(-22 * (agreement - 0.8)))


PERFECT_TRANSFER = 0.9994 / (1 + np.exp(-7.5)) * (0.9879 / (1 + np.exp(-4.4)))  # Q(1, 1)


def _square(gradient: tuple[Array, Array]) -> Array:
  """Squared Sobel magnitude, an exact integer below 2.1e6: decides every branch."""
  across, down = gradient
  return across * across + down * down


def _angle(numerator: Array, denominator: Array, upright: Array | float) -> Array:
  """atan(numerator / denominator); `upright` where the denominator is 0."""
  zero = denominator == 0
  quotient = numerator.astype(float) / jnp.where(zero, 1, denominator).astype(float)
  return jnp.where(zero, upright, jnp.arctan(quotient))


def _strength_ratio(a: Array, b: Array) -> Array:
  """Smaller over larger magnitude of two squared integers; 1 where both are 0."""
  larger = jnp.maximum(a, b)
  ratio = jnp.minimum(a, b).astype(float) / jnp.maximum(larger, 1).astype(float)
  return jnp.where(larger == 0, 1.0, jnp.sqrt(ratio))


def edge_transfer(images: Images, convention: str) -> Score:
  """Qabf = sum Q_S g_S / sum g_S over both sources S and all pixels, g the Sobel strength.

  Q_S = 0.9994 / (1 + exp(-15 (G - 0.5))) * 0.9879 / (1 + exp(-22 (A - 0.8))): G is the smaller
  strength of S and F over the larger, A = 1 - |turn| / 90 degrees of their edges' orientations.
  Source: Xydeas and Petrovic 2000. The toolkits surround the image with zeros, do not wrap turns
  beyond 90 degrees and take g_F for G where strengths are equal. `strict` mirrors the border, wraps
  turns (an edge has no sign) and takes G = 1; without any edge it gives Q(1, 1).
  """
  strict = convention == "strict"
  size = images.height, images.width
  border = "reflect" if strict else "zero"
  gradients = [sobel(x, *size, border) for x in (images.infrared, images.visible, images.fused)]
  # true convolution: left minus right
  angles = [_angle(down, -across, RIGHT_ANGLE) for across, down in gradients]
  squares = [_square(g) for g in gradients]
  kept = weight = 0.0
  for source in (0, 1):
    ratio = _strength_ratio(squares[source], squares[2])
    turn = jnp.abs(angles[source] - angles[2])
    if strict:  # an edge has no sign
      turn = jnp.minimum(turn, HALF_TURN - turn)
    else:  # the toolkits return the strength itself where the strengths are equal
      equal = squares[source] == squares[2]
      ratio = jnp.where(equal, jnp.sqrt(squares[2].astype(float)), ratio)
    quality = _strength_kept(ratio) * _orientation_kept(1 - turn / RIGHT_ANGLE)
    strength = jnp.sqrt(squares[source].astype(float))
    kept += total(quality * strength, *size)
    weight += total(strength, *size)
  empty = weight == 0
  undefined = PERFECT_TRANSFER if strict else jnp.nan
  return Score(jnp.where(empty, undefined, kept / jnp.where(empty, 1, weight)), empty)


STRONG_EDGE = 256  # squared Sobel magnitude of an edge of strength 2: (8 * 2)^2
WEAK_WEIGHT = 0.001


def _artefacts(images: Images) -> Array:
  """Share of edge weight where the fused edge is stronger than both sources' and unlike them."""
  size = images.height, images.width
  gradients = [sobel(x, *size, "reflect") for x in (images.infrared, images.visible, images.fused)]
  squares = [_square(g) for g in gradients]
  # +-pi/2 where only `across` is left; 0 without a gradient
  angles = [_angle(across, down, RIGHT_ANGLE * jnp.sign(across)) for across, down in gradients]
  added = (squares[2] > squares[0]) & (squares[2] > squares[1])
  lost = weights = 0.0
  for source in (0, 1):
    some = (squares[source] > 0) & (squares[2] > 0)
    ratio = jnp.where(some, _strength_ratio(squares[source], squares[2]), 0)
    agreement = jnp.abs(jnp.abs(angles[source] - angles[2]) - RIGHT_ANGLE) / RIGHT_ANGLE
    quality = jnp.sqrt(
      0.9999 / (1 + jnp.exp(-19 * (ratio - 0.5)))
      * (0.9995 / (1 + jnp.exp(-22 * (agreement - 0.5))))
    )  # fmt: skip
    strong = (squares[source].astype(float) / 64) ** 0.75
    weight = jnp.where(squares[source] >= STRONG_EDGE, strong, WEAK_WEIGHT)
    lost += total(jnp.where(added, (1 - quality) * weight, 0), *size)
    weights += total(weight, *size)
  return lost / weights


def fusion_artefacts(images: Images, convention: str) -> Score:
  """Nabf: the share of edge weight where F is stronger than both sources and unlike them.

  Nabf = sum_added (1 - Q_S) w_S / sum w_S over both sources S. Added are pixels with g_F > g_I and
  g_F > g_V, g the Sobel strength / 8. Q_S^2 = 0.9999 / (1 + exp(-19 (r - 0.5))) *
  0.9995 / (1 + exp(-22 (A - 0.5))): r is the smaller strength over the larger, A the agreement of
  orientations. w_S = g_S^1.5 from g_S = 2 on, else 0.001. Source: Shreyamsha Kumar 2013.
  """
  return Score(_artefacts(images))


def fusion_artefacts_as_printed(images: Images, convention: str) -> Score:
  """Nabf with the arguments as the toolkit passes them: infrared for F, F for a source."""
  rotated = images._replace(fused=images.infrared, infrared=images.visible, visible=images.fused)
  return Score(_artefacts(rotated))
