"""Losses of pose transfer, each per example [B], and statistics that show collapse.

The abstract names disentangled feature consistency losses in adversarial training, and consistency
with unpaired support data; every formula below is ours. Pictures are [B, S, S, 3] in [-1, 1].
"""

import dataclasses

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.images.ops import PIXELS, absolute

TERMS = ("reconstruction", "proportions", "adversary", "pose", "static")
PAIRED = ("reconstruction", "proportions")  # terms of paired examples alone
REFERENCES = ("source", "truth")
REGION_WEIGHT = 4.0  # what a pixel of the region counts more than one outside
FLOOR = 0.05  # weight of a cell where no joint is, against 1 at a joint
CHANGED = 2 / 16  # difference from the target from which a pixel counts as changed
PEAK_WEIGHT = 15.0  # of the estimator's loss at a joint


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """Weights of the terms, 0 for none, and what they refer to.

  reconstruction: |made - truth| of paired examples. proportions: of the keypoints that are drawn,
  where the model learns them. adversary: least squares of the discriminator.
  pose: the estimator's amplified maps of the made picture. static: its static features, against
  the target's. ramp_steps: the last three grow linearly over so many steps.
  consistency_from: pose and static begin after so many steps, when the estimator has learned.
  pose_reference: the pose term compares with the "source", or with the "truth" where there is one,
    whose limbs are as long as the target's person has them.
  """

  reconstruction: float
  proportions: float
  adversary: float
  pose: float
  static: float
  ramp_steps: int
  consistency_from: int
  pose_reference: str

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    for name in (*TERMS, "ramp_steps", "consistency_from"):
      if not getattr(self, name) >= 0:
        raise InputError(f"loss.{name} is {getattr(self, name)}; allowed: 0 or more")
    if not any(getattr(self, name) for name in TERMS):
      raise InputError(f"loss has no weight above 0; it takes weights of {', '.join(TERMS)}")
    if self.pose_reference not in REFERENCES:
      valid = ", ".join(REFERENCES)
      raise InputError(f"loss.pose_reference is {self.pose_reference!r}; valid: {valid}")

  def ramp(self, term: str, step: Array) -> Array:
    """Factor 0 to 1 on the weight of a term in a step, counted from 0."""
    if term in PAIRED:
      return jnp.ones(())
    begin = self.consistency_from if term in ("pose", "static") else 0
    return jnp.clip((step - begin + 1) / max(1, self.ramp_steps), 0, 1)


def reconstruction(made: Array, truth: Array, region: Array) -> Array:
  """sum w |made - truth| / sum w, w = 1 + 4 region, region [B, S, S, 1]."""
  weight = 1 + REGION_WEIGHT * region
  return (weight * absolute(made - truth)).sum(PIXELS) / (3 * weight.sum(PIXELS))


def proportions(keypoints: Array, truth: Array, side: int) -> Array:
  """Mean distance in sides of keypoints [B, K, 3] in pixels from the truth's, of joints in both."""
  there = (keypoints[..., 2] > 0) & (truth[..., 2] > 0)
  square = jnp.square((keypoints - truth)[..., :2] / side).sum(-1)
  distance = jnp.sqrt(jnp.where(there, square, 0) + 1e-8)  # whose gradient at 0 is finite
  return (there * distance).sum(-1) / jnp.maximum(there.sum(-1), 1)


def adversary(judged: tuple[Array, ...], wanted: float) -> Array:
  """mean (judged - wanted)^2 over patches, then over scales; judged: maps [B, h, w, 1]."""
  return sum(jnp.square(maps - wanted).mean(PIXELS) for maps in judged) / len(judged)


def pose_consistency(maps: Array, reference: Array) -> Array:
  """sum w |maps - reference| / sum w, w = reference + 0.05; maps [B, h, w, K]."""
  weight = reference + FLOOR
  return (weight * absolute(maps - reference)).sum(PIXELS) / weight.sum(PIXELS)


def static_consistency(features: tuple[Array, Array], maps: tuple[Array, Array]) -> Array:
  """mean |S(made) - S(target)| per example.

  S: features pooled at each joint by the picture's own maps, and over the picture; each vector
  brought to mean 0 and variance 1 over its channels. Compared cell by cell, the target's pose would
  be asked for, too; without the normalisation the features explode.
  features: [B, h, w, C] of the made picture and of the target; maps: [B, h, w, K] of both.
  """
  made, target = map(static_vectors, features, maps)
  return absolute(made - target).mean((-2, -1))


def static_vectors(features: Array, maps: Array) -> Array:
  """Normalised vectors [B, K + 1, C] of features [B, h, w, C] by maps [B, h, w, K]."""
  maps = jnp.maximum(maps, 0)
  pooled = jnp.einsum("bhwk,bhwc->bkc", maps, features)
  pooled = pooled / (maps.sum((1, 2))[..., None] + 1e-3)
  vectors = jnp.concatenate([pooled, features.mean((1, 2))[:, None]], axis=1)
  centred = vectors - vectors.mean(-1, keepdims=True)
  return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


def estimation(maps: Array, wanted: Array) -> Array:
  """mean (maps - wanted)^2 (1 + 15 wanted) per example; wanted: Gaussians [B, h, w, K]."""
  return (jnp.square(maps - wanted) * (1 + PEAK_WEIGHT * wanted)).mean(PIXELS)


def statistics(made: Array, target: Array, base: Array, region: Array) -> dict[str, Array]:
  """Numbers [B] that show collapse; none is a loss.

  region: mean of what may change. changed: share of the region's pixels that differ visibly from
  the target; 0 where the network copies it. redrawn: mean |made - base| in the region; 0 where it
  leaves the skeleton warp as it is.
  """
  weight = region.sum(PIXELS) + 1e-6
  differs = (jnp.abs(made - target).mean(-1, keepdims=True) > CHANGED).astype(made.dtype)
  redrawn = (region * jnp.abs(made - base)).sum(PIXELS) / (3 * weight)
  return {
    "region": region.mean(PIXELS),
    "changed": (region * differs).sum(PIXELS) / weight,
    "redrawn": redrawn,
  }


def margins(real: tuple[Array, ...], made: tuple[Array, ...]) -> dict[str, Array]:
  """Mean judgements [B] of real and of made pictures; the discriminator aims at 1 and 0."""
  both = {"judged_real": real, "judged_made": made}
  return {n: sum(maps.mean(PIXELS) for maps in judged) / len(judged) for n, judged in both.items()}
