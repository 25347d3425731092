"""Loss terms per example: distances of the fused image from its sources and from other views.

A term takes images or maps [..., H, W, 1] in [0, 1] and returns a value for each leading index: it
averages over pixels and channels only. F is the fused image, V the visible one, I the infrared one,
and G the mean of a view's gates. Source: arXiv 2603.23272 as its authors' release computes it, or
the paper that a term names.
"""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion import rules
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS, assert_grey
from cfi_jax.metrics.windows import gaussian

# Cb and Cr of red, green and blue.
CHROMA = ((-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclasses.dataclass(frozen=True)
class TargetOptions(WaveletOptions):
  """The target of the term `multiscale`, a fusion by `rules.wavelet`; `detail` takes its gain."""

  PLACE: ClassVar[str] = "loss.target."


def intensity(fused: Array, pair: Pair) -> Array:
  """mean |F - V| + mean |F - I|."""
  assert_grey(fused, pair)
  return jnp.abs(fused - pair.visible).mean(PIXELS) + jnp.abs(fused - pair.infrared).mean(PIXELS)


def gradient(fused: Array, pair: Pair) -> Array:
  """mean | |lap F| - max(|lap V|, |lap I|) |, lap the 8-neighbour Laplacian."""
  assert_grey(fused, pair)
  visible, infrared = jnp.abs(ops.laplacian(pair.visible)), jnp.abs(ops.laplacian(pair.infrared))
  target = jnp.maximum(visible, infrared)
  return jnp.abs(jnp.abs(ops.laplacian(fused)) - target).mean(PIXELS)


def consistency(fused: Array, view: Fusion) -> Array:
  """mean |F_view - F| G_view: the change of the fused image where the view's gate selects."""
  assert_grey(fused, view.fused, view.gates[0])
  return (jnp.abs(view.fused - fused) * ops.mean_map(view.gates)).mean(PIXELS)


def area(view: Fusion, target: float) -> Array:
  """|mean(G_view) - target|: distance of the selected share of the image from `target`."""
  return jnp.abs(ops.mean_map(view.gates).mean(PIXELS) - target)


def filling(fused: Array, view: Fusion, removed: Array) -> Array:
  """mean |F_view - F| over the pixels `removed` (bool), 0 without any; F takes no gradient.

  It is 0 where the view shows, inside the holes, what it would show without them.
  """
  assert_grey(fused, view.fused, removed)
  change = jnp.abs(view.fused - jax.lax.stop_gradient(fused))
  inside = removed.astype(change.dtype)
  return (change * inside).sum(PIXELS) / jnp.maximum(1, inside.sum(PIXELS))


def one_sided(pair: Pair, treated: Pair) -> Array:
  """The pixels where the treatment changed one image and left the other, bool [..., H, W, 1].

  A pixel that had the value of the filling before is not among them.
  """
  assert_grey(pair, treated)
  return (treated.visible != pair.visible) ^ (treated.infrared != pair.infrared)


def absence(trust: Pair, pair: Pair, treated: Pair) -> Array:
  """Mean cross entropy of the trust in pixels and whether the treatment left them, in nats.

  Of both images; the trust is clipped to [1e-6, 1 - 1e-6].
  """
  assert_grey(trust, pair, treated)

  def one(trust: Array, image: Array, seen: Array) -> Array:
    p = jnp.clip(trust, 1e-6, 1 - 1e-6)
    return -jnp.where(seen == image, jnp.log(p), jnp.log1p(-p)).mean(PIXELS)

  return sum(one(*(getattr(x, m) for x in (trust, pair, treated))) for m in MODALITIES) / 2


def entropy(view: Fusion) -> Array:
  """Mean binary entropy of the view's gate in nats, G clipped to [1e-6, 1 - 1e-6]."""
  p = jnp.clip(ops.mean_map(view.gates), 1e-6, 1 - 1e-6)
  return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p)).mean(PIXELS)


def difference(fused: Array, view: Fusion) -> Array:
  """mean |F - F_view|: the share of the fused image that hangs on what the view lacks."""
  assert_grey(fused, view.fused)
  return jnp.abs(fused - view.fused).mean(PIXELS)


def maximum(fused: Array, pair: Pair) -> Array:
  """mean |F - max(V, I)|."""
  assert_grey(fused, pair)
  return ops.absolute(fused - jnp.maximum(pair.visible, pair.infrared)).mean(PIXELS)


def edges(fused: Array, pair: Pair) -> Array:
  """mean |S(F) - max(S(V), S(I))|, S the Sobel operator's |d/dx| + |d/dy|.

  Source: the release of AMG-Fuse (arXiv 2606.26812), as of the terms that name it.
  """
  assert_grey(fused, pair)
  own, visible, infrared = map(ops.sobel_magnitude, (fused, pair.visible, pair.infrared))
  return ops.absolute(own - jnp.maximum(visible, infrared)).mean(PIXELS)


def shared_structure(fused: Array, pair: Pair, share: Array) -> Array:
  """1 - w SSIM(F, V) - (1 - w) SSIM(F, I), w the visible image's share, a scalar or [...].

  SSIM of Wang et al. 2004 on [0, 1], zeros beyond the borders. Source: AMG-Fuse.
  """
  assert_grey(fused, pair)
  visible, infrared = (
    _similarity(fused, source, "constant").mean(PIXELS) for source in (pair.visible, pair.infrared)
  )
  return 1 - share * visible - (1 - share) * infrared


def chroma(fused: Array, visible: Array) -> Array:
  """mean |Cb(F) - Cb(V)| + mean |Cr(F) - Cr(V)| of RGB images [..., H, W, 3], by BT.601.

  Source: AMG-Fuse.
  """
  chex.assert_shape([fused, visible], (..., None, None, 3))
  chex.assert_equal_shape([fused, visible])
  distance, chosen = fused - visible, jnp.asarray(CHROMA, fused.dtype)
  planes = jnp.einsum("...c,kc->...k", distance, chosen, precision=jax.lax.Precision.HIGHEST)
  return ops.absolute(planes).sum(-1).mean((-2, -1))


def structure(fused: Array, pair: Pair) -> Array:
  """1 - (SSIM(F, V) + SSIM(F, I)) / 2, SSIM of Wang et al. 2004 on [0, 1] with mirrored borders."""
  assert_grey(fused, pair)
  similarity = sum(
    _similarity(fused, source).mean(PIXELS) for source in (pair.visible, pair.infrared)
  )
  return 1 - similarity / 2


def correlation(fused: Array, pair: Pair) -> Array:
  """1 - (r(F, V) + r(F, I)) / 2, r Pearson's correlation over the pixels, 0 with a constant."""
  assert_grey(fused, pair)

  def centred(image: Array) -> Array:
    return image - image.mean(PIXELS, keepdims=True)

  def pearson(first: Array, second: Array) -> Array:
    scale = (first**2).mean(PIXELS) * (second**2).mean(PIXELS)
    return (first * second).mean(PIXELS) / jnp.sqrt(scale + 1e-12)

  own = centred(fused)
  return 1 - (pearson(own, centred(pair.visible)) + pearson(own, centred(pair.infrared))) / 2


def detail(fused: Array, pair: Pair, target: TargetOptions) -> Array:
  """mean |lap F - gain lap S|, S the source of greater |lap|: `gradient`, but with signs."""
  assert_grey(fused, pair)
  visible, infrared = ops.laplacian(pair.visible), ops.laplacian(pair.infrared)
  stronger = jnp.where(jnp.abs(visible) >= jnp.abs(infrared), visible, infrared)
  return jnp.abs(ops.laplacian(fused) - target.gain * stronger).mean(PIXELS)


def multiscale(fused: Array, pair: Pair, target: TargetOptions) -> Array:
  """mean |c(F - T)| + sum_k mean |w_k(F - T)|, w_k the wavelet planes and c the smooth rest.

  T is `rules.wavelet` of the pair. All planes count alike, although the energy of images
  lies in the coarse ones.
  """
  assert_grey(fused, pair)
  stage = ops.staged(pair.visible)
  distance = fused - rules.wavelet(pair, target, stage=stage)
  planes, rest = rules.wavelet_planes(distance, target.planes, stage)
  return sum(jnp.abs(part).mean(PIXELS) for part in (*planes, rest))


def _similarity(first: Array, second: Array, border: str = "reflect") -> Array:
  """The map of SSIM, [..., H, W, 1]; border: see `ops.blur`."""
  c1, c2 = 0.01**2, 0.03**2
  window = tuple(gaussian(11, 1.5).tolist())

  def mean(image: Array) -> Array:
    return ops.blur(image, window, border=border)

  x, y = mean(first), mean(second)
  xx = mean(first**2) - x**2
  yy = mean(second**2) - y**2
  xy = mean(first * second) - x * y
  luminance = (2 * x * y + c1) / (x**2 + y**2 + c1)
  return luminance * (2 * xy + c2) / (xx + yy + c2)


FUSION_TERMS = {
  "intensity": intensity,
  "gradient": gradient,
  "maximum": maximum,
  "edges": edges,
  "structure": structure,
  "correlation": correlation,
}
TARGET_TERMS = {"detail": detail, "multiscale": multiscale}  # those that take a target, too


def fusion_parts(
  names: Iterable[str], target: TargetOptions, fused: Array, pair: Pair
) -> dict[str, Array]:
  """The unweighted terms of the fusion loss per example, by name."""
  return {
    name: TARGET_TERMS[name](fused, pair, target)
    if name in TARGET_TERMS
    else FUSION_TERMS[name](fused, pair)
    for name in names
  }
