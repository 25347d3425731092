"""Scores of made pictures [..., S, S, 3] in [0, 1] against the truth, one per picture.

MSE, PSNR and SSIM are standard; the others are ours where they do not name a source.
"""

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.skeleton import PARTS
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS
from cfi_jax.metrics.windows import gaussian
from cfi_jax.systems.dfcnet.samples import Transfer

WINDOW = tuple(float(tap) for tap in gaussian(11, 1.5))
NEAR = 0.05  # of the side: a joint found within counts as right
LEAST_PIXELS = 8  # of a garment that is judged
DIRECTIONS = {
  "MSE": "lower", "PSNR": "higher", "SSIM": "higher", "foreground PSNR": "higher",
  "identity error": "lower", "keypoint error": "lower", "PCK": "higher", "missing rate": "lower",
  "pose leak": "higher", "identity leak": "higher",
}  # fmt: skip
# With networks that the user gives; the second is of all pictures together.
OF_NETWORKS = {"LPIPS": "lower", "FID": "lower"}
GARMENTS = {
  "shirt": ("torso",),
  "arms": ("upper arm", "forearm"),
  "trousers": ("hips", "thigh", "shin"),
  "shoes": ("foot",),
}


def mse(made: Array, truth: Array) -> Array:
  """mean (made - truth)^2 over pixels and channels."""
  return jnp.square(made - truth).mean(PIXELS)


def psnr(made: Array, truth: Array) -> Array:
  """-10 log10 of the MSE, in dB; NaN for equal pictures."""
  return decibels(mse(made, truth))


def decibels(error: Array) -> Array:
  """-10 log10 of a mean square; NaN where that is 0."""
  return jnp.where(error > 0, -10 * jnp.log10(jnp.where(error > 0, error, 1)), jnp.nan)


def ssim(made: Array, truth: Array) -> Array:
  """Structural similarity (Wang et al. 2004), the mean over channels and full windows.

  Gaussian 11 x 11 of deviation 1.5, L = 1, C1 = 0.01^2, C2 = 0.03^2. Sides of 11 pixels or more.
  """
  margin = len(WINDOW) // 2

  def local(x: Array) -> Array:
    return ops.blur(x, WINDOW, border="constant")[..., margin:-margin, margin:-margin, :]

  mean_made, mean_truth = local(made), local(truth)
  var_made = local(jnp.square(made)) - jnp.square(mean_made)
  var_truth = local(jnp.square(truth)) - jnp.square(mean_truth)
  both = local(made * truth) - mean_made * mean_truth
  first, second = 0.01**2, 0.03**2
  likeness = (2 * mean_made * mean_truth + first) * (2 * both + second)
  likeness /= jnp.square(mean_made) + jnp.square(mean_truth) + first
  return (likeness / (var_made + var_truth + second)).mean(PIXELS)


def foreground_psnr(made: Array, truth: Array, parts: Array) -> Array:
  """PSNR over the pixels of the truth's person; parts [..., S, S]; NaN without any."""
  person = (parts > 0)[..., None]
  error = (jnp.square(made - truth) * person).sum(PIXELS)
  count = 3 * person.sum(PIXELS)
  return decibels(jnp.where(count > 0, error / jnp.maximum(count, 1), 0))


def identity_error(made: Array, wanted: Array, parts: Array, wanted_parts: Array) -> Array:
  """Mean absolute difference of garments' mean colours, over garments seen in both pictures.

  parts: where `made` has the garments (the truth's part map); wanted_parts: where `wanted` has. NaN
  where no garment has 8 pixels in both.
  """
  found = []
  for names in GARMENTS.values():
    (own, enough), (other, too) = (
      _mean_colour(picture, own, names) for picture, own in ((made, parts), (wanted, wanted_parts))
    )
    found.append(jnp.where(enough & too, jnp.abs(own - other).mean(-1), jnp.nan))
  return jnp.nanmean(jnp.stack(found), axis=0)


def _mean_colour(picture: Array, parts: Array, names: tuple[str, ...]) -> tuple[Array, Array]:
  """Mean colour [..., 3] of parts whose names end so, and whether there are enough pixels."""
  chosen = np.array([part.endswith(names) for part in PARTS])
  mask = jnp.asarray(chosen)[parts][..., None]
  count = mask.sum(PIXELS)
  return (picture * mask).sum(PIXELS[:2]) / jnp.maximum(count, 1)[..., None], count >= LEAST_PIXELS


def joint_scores(found: Array, truth: Array, side: int) -> dict[str, Array]:
  """The fit of found keypoints [..., K, 3] to those of the truth; joints that the truth shows.

  keypoint error: mean distance of those found, in pixels (the field's AKD). PCK: share found
  within 5 % of the picture's side. missing rate: share not found (MKR). NaN where none is shown.
  """
  shown, there = truth[..., 2] > 1, found[..., 2] > 0
  distance = jnp.linalg.norm(found[..., :2] - truth[..., :2], axis=-1)
  return {
    "keypoint error": _mean(distance, shown & there),
    "PCK": _mean(there & (distance <= NEAR * side), shown),
    "missing rate": _mean(~there, shown),
  }


def _mean(values: Array, chosen: Array) -> Array:
  """Mean of the chosen over the last axis; NaN where none is."""
  count = chosen.sum(-1)
  mean = (values * chosen).sum(-1) / jnp.maximum(count, 1)
  return jnp.where(count > 0, mean, jnp.nan)


def every(made: Array, samples: Transfer, found: Array) -> dict[str, Array]:
  """All scores of made pictures [B, S, S, 3] of held-out samples, [B] by the names of `DIRECTIONS`.

  found: keypoints [B, K, 3] that a judge reads off the made pictures. pose leak: their distance
  from the target's joints, small where the target's pose has stayed. identity leak: the garments'
  distance from the source's, small where the source's clothes came along.
  """
  side, parts = made.shape[1], samples.truth_parts
  joints = joint_scores(found, samples.truth_keypoints, side)
  leak = joint_scores(found, samples.target_keypoints, side)
  return {
    "MSE": mse(made, samples.truth),
    "PSNR": psnr(made, samples.truth),
    "SSIM": ssim(made, samples.truth),
    "foreground PSNR": foreground_psnr(made, samples.truth, parts),
    "identity error": identity_error(made, samples.truth, parts, parts),
    **joints,
    "pose leak": leak["keypoint error"],
    "identity leak": identity_error(made, samples.source, parts, samples.source_parts),
  }
