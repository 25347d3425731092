"""Loss terms, per example: the fusion loss, invariance, necessity and robustness.

A term takes images or maps [..., H, W, 1] and returns a value for each leading index: it averages
over pixels and channels only. Source: the paper's objective L = L_f + alpha L_inv + beta L_nec as
its authors' release computes it.
"""

import dataclasses
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.metrics.windows import gaussian

PIXELS = (-3, -2, -1)
B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@dataclasses.dataclass(frozen=True)
class TargetOptions:
  """The fused image that `multiscale` wants, put together from wavelet planes of the two sources.

  planes: their number; the coarsest holds details of about 2^planes pixels.
  exponent: a plane's weights are as |w|^exponent of the sources, |w| smoothed; 0 is the mean, large
    a choice. gain: what details are multiplied with, in the term `detail`, too.
  spread: of both rests' deviations from their means, summed, what the fused image gets; 0.5 is the
    mean of both rests.
  brighter: how far it goes from there to the brighter rest of each pixel: with a spread of 0.5, 0
    is the mean and 1 the maximum of both rests.
  """

  planes: int
  exponent: float
  gain: float
  spread: float
  brighter: float

  def __post_init__(self):
    """Refuses targets that are no images."""
    if not 1 <= self.planes <= 8:
      raise InputError(f"loss.target.planes is {self.planes}; allowed: 1 to 8")
    for name in ("exponent", "gain", "spread", "brighter"):
      if getattr(self, name) < 0:
        raise InputError(f"loss.target.{name} is {getattr(self, name)}; allowed: 0 or more")


def intensity(fused: Array, pair: Pair) -> Array:
  """mean |F - V| + mean |F - I|."""
  return jnp.abs(fused - pair.visible).mean(PIXELS) + jnp.abs(fused - pair.infrared).mean(PIXELS)


def gradient(fused: Array, pair: Pair) -> Array:
  """mean | |lap F| - max(|lap V|, |lap I|) |, lap the 8-neighbour Laplacian."""
  visible, infrared = jnp.abs(ops.laplacian(pair.visible)), jnp.abs(ops.laplacian(pair.infrared))
  target = jnp.maximum(visible, infrared)
  return jnp.abs(jnp.abs(ops.laplacian(fused)) - target).mean(PIXELS)


def consistency(fused: Array, view: Fusion) -> Array:
  """mean |F_view - F| G_view: change of the fused image where the view's gate selects."""
  return (jnp.abs(view.fused - fused) * ops.mean_map(view.gates)).mean(PIXELS)


def area(view: Fusion, target: float) -> Array:
  """| mean(G_view) - target |: distance of the selected share of the image from `target`."""
  return jnp.abs(ops.mean_map(view.gates).mean(PIXELS) - target)


def filling(fused: Array, view: Fusion, removed: Array) -> Array:
  """mean |F_view - F| over the pixels `removed` (bool), 0 without any; F takes no gradient.

  How far the fused image is from what it would be without the holes, seen from inside them.
  """
  change = jnp.abs(view.fused - jax.lax.stop_gradient(fused))
  inside = removed.astype(change.dtype)
  return (change * inside).sum(PIXELS) / jnp.maximum(1, inside.sum(PIXELS))


def one_sided(pair: Pair, treated: Pair) -> Array:
  """bool: the pixels where the treatment changed one image and left the other.

  A pixel in a hole that had the value of the filling already is not among them.
  """
  return (treated.visible != pair.visible) ^ (treated.infrared != pair.infrared)


def entropy(view: Fusion) -> Array:
  """Mean binary entropy of the view's gate in nats, G clipped to [1e-6, 1 - 1e-6]."""
  p = jnp.clip(ops.mean_map(view.gates), 1e-6, 1 - 1e-6)
  return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p)).mean(PIXELS)


def difference(fused: Array, view: Fusion) -> Array:
  """mean |F - F_view|: what the fused image loses with a modality."""
  return jnp.abs(fused - view.fused).mean(PIXELS)


def maximum(fused: Array, pair: Pair) -> Array:
  """mean |F - max(V, I)|."""
  return jnp.abs(fused - jnp.maximum(pair.visible, pair.infrared)).mean(PIXELS)


def structure(fused: Array, pair: Pair) -> Array:
  """1 - (SSIM(F, V) + SSIM(F, I)) / 2, SSIM of Wang 2004 in [0, 1] with mirrored borders."""
  similarity = sum(
    _similarity(fused, source).mean(PIXELS) for source in (pair.visible, pair.infrared)
  )
  return 1 - similarity / 2


def correlation(fused: Array, pair: Pair) -> Array:
  """1 - (r(F, V) + r(F, I)) / 2, r Pearson's correlation over the pixels; 0 with a constant."""

  def centred(image: Array) -> Array:
    return image - image.mean(PIXELS, keepdims=True)

  def pearson(first: Array, second: Array) -> Array:
    scale = (first**2).mean(PIXELS) * (second**2).mean(PIXELS)
    return (first * second).mean(PIXELS) / jnp.sqrt(scale + 1e-12)

  own = centred(fused)
  return 1 - (pearson(own, centred(pair.visible)) + pearson(own, centred(pair.infrared))) / 2


def detail(fused: Array, pair: Pair, target: TargetOptions) -> Array:
  """mean |lap F - gain lap S|, S at each pixel the source of greater |lap|.

  Like `gradient`, but with signs.
  """
  visible, infrared = ops.laplacian(pair.visible), ops.laplacian(pair.infrared)
  stronger = jnp.where(jnp.abs(visible) >= jnp.abs(infrared), visible, infrared)
  return jnp.abs(ops.laplacian(fused) - target.gain * stronger).mean(PIXELS)


def multiscale(fused: Array, pair: Pair, target: TargetOptions) -> Array:
  """Sum over wavelet planes w of mean |w(F - T)|, plus mean |c(F - T)|, c what they leave.

  T: `wavelet_fusion` of the pair. Every plane counts as much as every other, although the energy of
  images lies in the coarse ones.
  """
  planes, rest = _wavelet(fused - wavelet_fusion(pair, target), target.planes)
  return sum(jnp.abs(part).mean(PIXELS) for part in (*planes, rest))


def wavelet_fusion(pair: Pair, target: TargetOptions) -> Array:
  """Both images fused by a rule: their wavelet planes and rests put together as `target` says.

  Fusion by the a trous transform (Nunez 1999) with weights in place of a choice; not clipped.
  """
  first, second = (_wavelet(image, target.planes) for image in (pair.visible, pair.infrared))
  means = [rest.mean(PIXELS, keepdims=True) for _, rest in (first, second)]
  fused = sum(means) / 2 + target.spread * (first[1] + second[1] - sum(means))
  fused += target.brighter * jnp.abs(first[1] - second[1]) / 2
  for visible, infrared in zip(first[0], second[0], strict=True):
    activities = (ops.blur(jnp.abs(plane), B3_SPLINE) for plane in (visible, infrared))
    # The odds a^n : b^n without powers of small numbers, which underflow.
    a, b = (jnp.log(activity + 1e-6) for activity in activities)
    weight = jax.nn.sigmoid(target.exponent * (a - b))
    fused += target.gain * (weight * visible + (1 - weight) * infrared)
  return fused


def _wavelet(image: Array, count: int) -> tuple[list[Array], Array]:
  """Planes of the a trous transform with the B3 spline (Starck and Murtagh 1994), finest first, and
  the smooth rest; their sum is `image`."""
  planes = []
  for level in range(count):
    smooth = ops.blur(image, B3_SPLINE, 2**level)
    planes.append(image - smooth)
    image = smooth
  return planes, image


def _similarity(first: Array, second: Array) -> Array:
  """The map of SSIM."""
  c1, c2 = 0.01**2, 0.03**2
  window = tuple(gaussian(11, 1.5).tolist())
  x, y = ops.blur(first, window), ops.blur(second, window)
  xx = ops.blur(first**2, window) - x**2
  yy = ops.blur(second**2, window) - y**2
  xy = ops.blur(first * second, window) - x * y
  luminance = (2 * x * y + c1) / (x**2 + y**2 + c1)
  return luminance * (2 * xy + c2) / (xx + yy + c2)


FUSION_TERMS = {
  "intensity": intensity,
  "gradient": gradient,
  "maximum": maximum,
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


@dataclasses.dataclass(frozen=True)
class InvarianceOptions:
  """L_inv = mean over `views` of consistency + area - or + entropy + filling, each with its weight.

  weight: alpha. entropy: -1 maximises the gate's entropy (release), +1 minimises it (paper).
  area_target: the share of the image that the gate should select.
  filling: ours, 0 in release and paper: it rewards what fills holes in one image from the other.
  """

  weight: float
  views: tuple[str, ...]
  consistency: float
  area: float
  area_target: float
  entropy: float
  filling: float


@dataclasses.dataclass(frozen=True)
class NecessityOptions:
  """L_nec = sum over `views` of the difference that removing a modality makes.

  weight: beta; positive makes the differences small (release), negative large (paper).
  """

  weight: float
  views: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RobustnessOptions:
  """L_rob = mean over `views` of the fusion loss of the treated pair; ours.

  weight: 0 in release and paper. views: for interventions that change what the fused image should
    be, such as `darker`.
  """

  weight: float
  views: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """The objective: weights of the fusion terms by name, and the groups of interventions.

  target: what the terms `multiscale` and, of its gain alone, `detail` want; it says nothing without
    them.
  """

  fusion: dict[str, float]
  target: TargetOptions
  invariance: InvarianceOptions
  necessity: NecessityOptions
  robustness: RobustnessOptions

  def __post_init__(self):
    """Refuses unknown terms and views named twice."""
    valid = (*FUSION_TERMS, *TARGET_TERMS)
    for name in self.fusion:
      if name not in valid:
        raise InputError(f"loss.fusion has no term {name!r}; valid: {', '.join(valid)}")
    if not self.fusion:
      raise InputError(f"loss.fusion is empty; it takes weights of {', '.join(valid)}")
    repeated = sorted({v for v in self.views if self.views.count(v) > 1})
    if repeated:
      raise InputError(f"loss: views named more than once: {', '.join(repeated)}")

  @property
  def views(self) -> tuple[str, ...]:
    """The interventions that the objective needs, in the order of the training step."""
    return self.invariance.views + self.necessity.views + self.robustness.views


def objective(
  options: LossOptions,
  pair: Pair,
  original: Fusion,
  views: dict[str, Fusion],
  treated: dict[str, Pair],
) -> tuple[Array, dict[str, Array]]:
  """The objective per example [B] and its unweighted parts by name, each [B] too.

  views: the fusions of the pairs `treated` by name.
  """
  parts, total = {}, 0.0

  def add(name: str, weight: float, value: Array) -> None:
    nonlocal total
    parts[name] = value
    total += weight * value

  for name, value in fusion_parts(options.fusion, options.target, original.fused, pair).items():
    add(name, options.fusion[name], value)
  invariance, necessity = options.invariance, options.necessity
  for name in invariance.views:
    alpha, view = invariance.weight / len(invariance.views), views[name]
    add(f"consistency/{name}", alpha * invariance.consistency, consistency(original.fused, view))
    add(f"area/{name}", alpha * invariance.area, area(view, invariance.area_target))
    add(f"entropy/{name}", alpha * invariance.entropy, entropy(view))
    if invariance.filling:
      removed = one_sided(pair, treated[name])
      add(f"filling/{name}", alpha * invariance.filling, filling(original.fused, view, removed))
  for name in necessity.views:
    add(f"necessity/{name}", necessity.weight, difference(original.fused, views[name]))
  robustness = options.robustness
  for name in robustness.views:
    terms = fusion_parts(options.fusion, options.target, views[name].fused, treated[name])
    value = sum(options.fusion[term] * terms[term] for term in terms)
    add(f"robustness/{name}", robustness.weight / len(robustness.views), value)
  return total, parts
