"""Fusion rules without training, as pure functions: the one place of their mathematics.

A rule takes a pair in [0, 1] and its options, and returns the fused luma [..., H, W, 1], not
clipped. Of a pair s times as large the result is s times as large. Borders are mirrored without
repeating the edge. Rules are the target of training, baselines of every report, and fusers
(`systems.rules`).

valid: a `Pair` of bool images [..., H, W, 1], false where an image has no value; what stands there
reaches no other pixel. Where one image is valid the result is its value, but for `wavelet`, which
takes its details alone and continues what the other lacks of brightness from its surroundings, so
that no seam shows. Where none is valid, the result is 0 for `average` and `maximum`, what the known
parts of coarser levels give for `laplacian`, and what continues the surroundings for `wavelet`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.fusion import certainty, residuals
from cfi_jax.fusion.certainty import Known, Sums, where
from cfi_jax.fusion.residuals import B3_SPLINE, TINY
from cfi_jax.fusion.rule_options import Choice, NoOptions, WaveletOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS, TOGETHER, Stage

SMALLEST = 8  # pixels of the shorter side of the coarsest pyramid level
FAR = 1e-3  # share of trusted pixels below the low-pass filter that begins to count as too little
NONE = NoOptions()


@struct.dataclass
class Place:
  """All that a rule must know of an image beside the window that it computes on.

  size: int32 [2], height and width of the image in the window's upper left, None where it fills the
    window (`laplacian`, and `wavelet` without a level).
  level: sum of the means of both images' low-pass residuals (`wavelet`); None where the window
    holds all of the image, which tells them.
  depth: number of details of the image's pyramid (`laplacian`).
  """

  size: Array | None
  level: Array | None
  depth: int = struct.field(pytree_node=False)


def fuse(pair: Pair, choice: Choice, valid: Pair | None = None) -> Array:
  """The fused luma of pairs [..., H, W, 1] by a rule with its options."""
  return RULES[choice.name].fuse(pair, choice.options, valid)


def average(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = TOGETHER,
) -> Array:
  """The mean of both images."""
  return _either(*_sources(pair, valid), _half).value


def maximum(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = TOGETHER,
) -> Array:
  """The brighter of both images at every pixel."""
  return _either(*_sources(pair, valid), jnp.maximum).value


def laplacian(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = TOGETHER,
) -> Array:
  """Laplacian pyramid (Burt and Adelson 1983): the larger detail, the mean coarsest level.

  Levels are smoothed by the B3 spline and go down to a shorter side of 8 to 15 pixels.
  place: of one image, without leading axes: its size and depth count, not those of the array.
  """
  sources = _sources(pair, valid)
  count = place.depth if place else depth(pair.visible.shape[-3:-1])
  size = place.size if place else None
  sizes = [None if size is None else -(-size // 2**k) for k in range(count)]
  (*first, a), (*second, b) = (_pyramid(source, sizes, stage) for source in sources)
  fused = _either(a, b, _half)
  for a, b, own in reversed(list(zip(first, second, sizes, strict=True))):
    detail = _either(a, b, _larger)
    coarse = _expand(fused, a.value.shape, own, stage)
    fused = Known(detail.value + coarse, detail.known)
  return _complete(fused.value, *sources, fused.value)


def wavelet(
  pair: Pair,
  options: WaveletOptions,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = TOGETHER,
) -> Array:
  """Fusion by the a trous transform (Nunez et al. 1999), with weights in place of a choice.

  valid: bool, or floating point in [0, 1], how far each pixel is to be trusted, of which the trust
    over the greater of both images' counts (`certainty.relative`): both equally far everywhere is
    as good as nothing. Smoothing is normalised convolution (Knutsson and Westin 1993) with it as
    the certainty, means are weighted and details scaled by it.
  place: its level counts, not that of the window.
  """
  images, trusts = certainty.trusted(pair, valid)
  (first, a), (second, b) = map(
    functools.partial(_planes, count=options.planes, stage=stage), images, trusts
  )
  level = place.level if place else None
  if level is None:
    level_of = functools.partial(_level, planes=options.planes, size=place.size if place else None)
    level = sum(map(level_of, images, trusts, (a, b)))
  rests = (a.total, b.total) if valid is None else _rests(a, b, level / 2)
  fused = level / 2 + options.spread * (rests[0] + rests[1] - level)
  fused += options.brighter * jnp.abs(rests[0] - rests[1]) / 2
  for planes in zip(first, second, strict=True):
    if valid is not None:
      planes = [trust * plane for trust, plane in zip(trusts, planes, strict=True)]
    # The odds a^n : b^n without powers of small numbers, which underflow.
    odds = [jnp.log(_activity(*x, stage) + 1e-6) for x in zip(planes, trusts, strict=True)]
    if valid is not None:
      odds = [odd + jnp.log(trust + 1e-6) for odd, trust in zip(odds, trusts, strict=True)]
    weight = jax.nn.sigmoid(options.exponent * (odds[0] - odds[1]))
    fused += options.gain * (weight * planes[0] + (1 - weight) * planes[1])
  return fused


def wavelet_planes(image: Array, count: int, stage: Stage = TOGETHER) -> tuple[list[Array], Array]:
  """Planes of the a trous transform, finest first, and the smooth rest; their sum is `image`.

  The low-pass filter is the B3 spline (Starck and Murtagh 1994), its taps 2^k pixels apart.
  """
  planes, rest = _planes(image, None, count, stage)
  return planes, rest.total


def depth(size: tuple[int, int]) -> int:
  """The number of details in the Laplacian pyramid of an image of that height and width."""
  side, count = min(size), 0
  while side >= 2 * SMALLEST:
    side, count = -(-side // 2), count + 1
  return count


def _sources(pair: Pair, valid: Pair | None) -> tuple[Known, Known]:
  ops.assert_grey(pair)
  if valid is None:
    return Known(pair.visible, None), Known(pair.infrared, None)
  ops.assert_grey(pair, valid)
  chex.assert_type([valid.visible, valid.infrared], bool)
  return (
    Known(where(valid.visible, pair.visible), valid.visible),
    Known(where(valid.infrared, pair.infrared), valid.infrared),
  )


def _either(a: Known, b: Known, both: Callable[[Array, Array], Array]) -> Known:
  """`both` of two images where both are known, else the one that is."""
  merged = both(a.value, b.value)
  if a.known is None or b.known is None:
    return Known(merged, None)
  alone = a.value + b.value  # what is not known is 0
  return Known(jnp.where(a.known & b.known, merged, alone), a.known | b.known)


def _complete(fused: Array, a: Known, b: Known, near: Array) -> Array:
  """`fused` where both sources are known, the known one where one is, `near` where none is."""
  value, known = _either(a, b, lambda *_: fused)
  return value if known is None else jnp.where(known, value, near)


def _half(a: Array, b: Array) -> Array:
  return (a + b) / 2


def _larger(a: Array, b: Array) -> Array:
  return jnp.where(jnp.abs(a) >= jnp.abs(b), a, b)


def _planes(
  image: Array, trust: Array | None, count: int, stage: Stage
) -> tuple[list[Array], Sums]:
  """Planes, finest first, and the sums of the low-pass residual."""
  planes, own = [], image
  sums = Sums(image if trust is None else trust * image, trust)
  for k in range(count):
    sums = sums.smooth(functools.partial(_blur, spacing=2**k, stage=stage))
    smooth = sums.divide().value
    planes.append(own - smooth)
    own = smooth
  return planes, sums


def _rests(a: Sums, b: Sums, level: Array) -> tuple[Array, Array]:
  """Low-pass residuals; towards the end of an image's reach it becomes that of both together.

  level: what stands where nothing reaches.
  """
  near = (a.total + b.total + TINY * level) / (a.weight + b.weight + TINY)

  def complete(own: Sums) -> Array:
    others = FAR * (1 - own.weight)
    return (own.total + others * near) / (own.weight + others)

  return complete(a), complete(b)


def _activity(plane: Array, trust: Array | None, stage: Stage) -> Array:
  """The smoothed size of a plane's details."""
  size = jnp.abs(plane)
  sums = Sums(size if trust is None else trust * size, trust)
  return sums.smooth(functools.partial(_blur, stage=stage)).divide().value


def _level(image: Array, trust: Array | None, rest: Sums, planes: int, size: Array | None) -> Array:
  """The mean of every image's low-pass residual, as `residuals.residual_mean`.

  size: of the image in the window's upper left; None where it fills the window.
  """
  if size is not None:
    rows, columns = (jnp.arange(n) < size[k] for k, n in enumerate(image.shape[-3:-1]))
    inside = jnp.expand_dims(rows[:, None] & columns[None], range(image.ndim - 3))[..., None]
    weight = jnp.ones_like(rest.total) if rest.weight is None else rest.weight
    total, weight = (
      jnp.where(inside, x, 0).sum(PIXELS, keepdims=True) for x in (rest.total, weight)
    )
    return total / jnp.maximum(weight, TINY)
  if trust is None:
    return rest.total.mean(PIXELS, keepdims=True)
  shares = np.multiply.outer(*(residuals.shares(n, planes) for n in image.shape[-3:-1]))[..., None]
  weights = trust * jnp.broadcast_to(shares.astype(image.dtype), image.shape)
  total = (weights * image).sum(PIXELS, keepdims=True)
  return total / jnp.maximum(weights.sum(PIXELS, keepdims=True), TINY)


def _pyramid(source: Known, sizes: list[Array | None], stage: Stage) -> list[Known]:
  """The details, finest first, and the coarsest level. sizes: of each level with details."""
  levels, own, sums = [], source, Sums.of(source)
  for size in sizes:
    blur = functools.partial(_blur, size=size, stage=stage)
    sums = sums.smooth(lambda x, blur=blur: blur(x)[..., ::2, ::2, :])
    smaller = sums.divide()
    detail = own.value - _expand(smaller, own.value.shape, size, stage)
    levels.append(Known(where(own.known, detail), own.known))
    own = smaller
  return [*levels, own]


def _expand(image: Known, shape: tuple[int, ...], size: Array | None, stage: Stage) -> Array:
  """Doubles the size, cropped to `shape`, by zero insertion and smoothing of what is known."""

  def enlarge(x: Array) -> Array:
    spread = _insert_zeros(_insert_zeros(4 * x, -3), -2)
    return _blur(spread[..., : shape[-3], : shape[-2], :], size=size, stage=stage)

  return Sums.of(image).smooth(enlarge).divide().value


def _insert_zeros(x: Array, axis: int) -> Array:
  """Twice the elements of an axis, every second one 0; a padding that ONNX can express."""
  spread = jnp.stack([x, jnp.zeros_like(x)], axis)
  return spread.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


@functools.partial(jax.jit, static_argnames="spacing")  # traced once, not for each of 20 blurs
def _blur(image: Array, spacing: int = 1, size: Array | None = None, stage: Stage = TOGETHER):
  return ops.blur(image, B3_SPLINE, spacing, size=size, stage=stage)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A rule.

  fuse: see the module; place and stage serve whoever computes windows (`Place`, `ops.Stage`).
  reach: pixels around a pixel that decide on its result, by the options; None: all of the image.
  bytes_per_pixel: memory that its compiled program needs in float32, by the options and whether
    it takes masks; as XLA counts it for images in float32, with some room.
  """

  fuse: Callable[..., Array]
  reach: Callable[[Any], int | None]
  bytes_per_pixel: Callable[[Any, bool], int]


RULES = {
  "wavelet": Rule(
    wavelet, lambda o: 2 * 2**o.planes, lambda o, m: 60 + 26 * o.planes if m else 40 + 16 * o.planes
  ),
  "laplacian": Rule(laplacian, lambda _: None, lambda _, m: 88 if m else 48),
  "average": Rule(average, lambda _: 0, lambda _, m: 20 if m else 16),
  "maximum": Rule(maximum, lambda _: 0, lambda _, m: 20 if m else 16),
}
