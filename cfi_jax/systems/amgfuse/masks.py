"""Masks: the share of the visible image in a fused one, by a quotient that is kept finite."""

import jax.numpy as jnp
from flax import linen as nn

from cfi_jax.core.types import Array
from cfi_jax.images.ops import PIXELS

STEEPNESS = 5.0  # of the sigmoid around a share of one half
LEAST = 1e-12  # magnitude of a denominator
EPSILON = 1e-8  # added to denominators
NEAR = 1e-6  # distance from an end that counts as reaching it


def share(numerator: Array, denominator: Array) -> Array:
  """numerator / denominator, cut to [0, 1]; the gradient is whole from 0 to 1, both included.

  Denominators nearer to 0 than `LEAST` count as `LEAST`, of their sign.
  """
  sign = jnp.where(denominator < 0, -1, 1).astype(denominator.dtype)
  small = jnp.abs(denominator) < LEAST
  quotient = numerator / jnp.where(small, LEAST * sign, denominator)
  inside = (quotient >= 0) & (quotient <= 1)
  return jnp.where(inside, quotient, jnp.clip(quotient, 0, 1))


def soft(share: Array) -> Array:
  """sigmoid(5 (share - 1/2)), in [0.0759, 0.9241]."""
  return nn.sigmoid(STEEPNESS * (share - 0.5))


def raw_mask(visible: Array, infrared: Array, fused: Array, epsilon: float = EPSILON) -> Array:
  """soft((f - ir) / (vi - ir + f + epsilon)), of maps of one shape."""
  return soft(share(fused - infrared, visible - infrared + fused + epsilon))


def first_raw_mask(visible: Array, epsilon: float = EPSILON) -> Array:
  """`raw_mask` where f = vi + ir, without the noise of subtracting ir again."""
  return soft(share(visible, 2 * visible + epsilon))


def statistics(masks: tuple[Array, ...], name: str) -> dict[str, Array]:
  """Mean, standard deviation and share at an end of masks [B, h, w, C], each [B] by name.

  The ends are those of what `soft` gives to shares, where a quotient was cut.
  """
  low, high = nn.sigmoid(-STEEPNESS / 2) + NEAR, nn.sigmoid(STEEPNESS / 2) - NEAR
  found = {}
  for number, mask in enumerate(masks):
    ends = (mask <= low) | (mask >= high)
    values = {"mean": mask.mean(PIXELS), "std": mask.std(PIXELS)}
    values["ends"] = ends.astype(mask.dtype).mean(PIXELS)
    found |= {f"{name}{number}/{kind}": value for kind, value in values.items()}
  return found
