"""Fusion rules without training, as pure functions: the one place of their mathematics.

A rule takes a pair in [0, 1] and its options, and returns the fused luma [..., H, W, 1], not
clipped. Of a pair s times as large the result is s times as large. Borders are mirrored without
repeating the edge. Rules are the target of training, baselines of every report, and fusers
(`systems.rules`).

valid: a `Pair` of bool images [..., H, W, 1], false where an image has no value; what stands there
reaches no other pixel. Where one image is valid the result is its value. Where none is, the result
is 0 for `average` and `maximum`, what the known parts of coarser levels give for `laplacian`, and
the mean of the known low-pass residuals for `wavelet`; beyond the reach of both it is 0.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.fusion.residuals import B3_SPLINE
from cfi_jax.fusion.rule_options import Choice, NoOptions, WaveletOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS, Stage, together

SMALLEST = 8  # pixels of the shorter side of the coarsest pyramid level
NONE = NoOptions()


@struct.dataclass
class Place:
  """All that a rule must know of an image beside the window that it computes on.

  size: int32 [2], height and width of the image in the window's upper left, None where it fills the
    window (`laplacian`).
  level: sum of the means of both images' low-pass residuals (`wavelet`).
  depth: number of details of the image's pyramid (`laplacian`).
  """

  size: Array | None
  level: Array
  depth: int = struct.field(pytree_node=False)


def fuse(pair: Pair, choice: Choice, valid: Pair | None = None) -> Array:
  """The fused luma of pairs [..., H, W, 1] by a rule with its options."""
  return RULES[choice.name].fuse(pair, choice.options, valid)


def average(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = together,
) -> Array:
  """The mean of both images."""
  return _either(*_sources(pair, valid), _half).value


def maximum(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = together,
) -> Array:
  """The brighter of both images at every pixel."""
  return _either(*_sources(pair, valid), jnp.maximum).value


def laplacian(
  pair: Pair,
  options: NoOptions = NONE,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = together,
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
    fused = _Known(detail.value + coarse, detail.known)
  return _complete(fused.value, *sources, fused.value)


def wavelet(
  pair: Pair,
  options: WaveletOptions,
  valid: Pair | None = None,
  place: Place | None = None,
  stage: Stage = together,
) -> Array:
  """Fusion by the a trous transform (Nunez et al. 1999), with weights in place of a choice.

  With `valid`, smoothing is normalised convolution (Knutsson and Westin 1993), and means are those
  of the valid pixels. place: its level counts, not that of the window.
  """
  sources = _sources(pair, valid)
  masks = [source.known for source in sources]
  first, second = (_planes(source, options.planes, stage) for source in sources)
  rests = [rest.value for _, rest in (first, second)]
  level = place.level if place else sum(map(_mean, rests, masks))
  fused = level / 2 + options.spread * (rests[0] + rests[1] - level)
  fused += options.brighter * jnp.abs(rests[0] - rests[1]) / 2
  for planes in zip(first[0], second[0], strict=True):
    activities = (_activity(plane, mask, stage) for plane, mask in zip(planes, masks, strict=True))
    # The odds a^n : b^n without powers of small numbers, which underflow.
    a, b = (jnp.log(activity + 1e-6) for activity in activities)
    weight = jax.nn.sigmoid(options.exponent * (a - b))
    fused += options.gain * (weight * planes[0] + (1 - weight) * planes[1])
  return _complete(fused, *sources, _either(first[1], second[1], _half).value)


def wavelet_planes(image: Array, count: int) -> tuple[list[Array], Array]:
  """Planes of the a trous transform, finest first, and the smooth rest; their sum is `image`.

  The low-pass filter is the B3 spline (Starck and Murtagh 1994), its taps 2^k pixels apart.
  """
  planes, rest = _planes(_Known(image, None), count, together)
  return planes, rest.value


def depth(size: tuple[int, int]) -> int:
  """The number of details in the Laplacian pyramid of an image of that height and width."""
  side, count = min(size), 0
  while side >= 2 * SMALLEST:
    side, count = -(-side // 2), count + 1
  return count


class _Known(NamedTuple):
  """Images, and where they have values (None: everywhere); they are 0 elsewhere."""

  value: Array
  known: Array | None


class _Sums(NamedTuple):
  """Numerator and denominator of a normalised convolution; weight: None for 1 everywhere."""

  total: Array
  weight: Array | None

  @classmethod
  def of(cls, source: _Known) -> "_Sums":
    """The sums before any smoothing."""
    known = source.known
    return cls(source.value, None if known is None else known.astype(source.value.dtype))

  def smooth(self, smoother: Callable[[Array], Array]) -> "_Sums":
    """Both sums, smoothed."""
    return _Sums(*(None if x is None else smoother(x) for x in self))

  def divide(self) -> _Known:
    """The means of what is known below the filter."""
    if self.weight is None:
      return _Known(self.total, None)
    known = self.weight > 0
    return _Known(_where(known, self.total / jnp.where(known, self.weight, 1)), known)


def _where(known: Array | None, image: Array) -> Array:
  return image if known is None else jnp.where(known, image, 0)


def _sources(pair: Pair, valid: Pair | None) -> tuple[_Known, _Known]:
  ops.assert_grey(pair)
  if valid is None:
    return _Known(pair.visible, None), _Known(pair.infrared, None)
  ops.assert_grey(pair, valid)
  chex.assert_type([valid.visible, valid.infrared], bool)
  return (
    _Known(_where(valid.visible, pair.visible), valid.visible),
    _Known(_where(valid.infrared, pair.infrared), valid.infrared),
  )


def _either(a: _Known, b: _Known, both: Callable[[Array, Array], Array]) -> _Known:
  """`both` of two images where both are known, else the one that is."""
  merged = both(a.value, b.value)
  if a.known is None or b.known is None:
    return _Known(merged, None)
  alone = a.value + b.value  # what is not known is 0
  return _Known(jnp.where(a.known & b.known, merged, alone), a.known | b.known)


def _complete(fused: Array, a: _Known, b: _Known, near: Array) -> Array:
  """`fused` where both sources are known, the known one where one is, `near` where none is."""
  value, known = _either(a, b, lambda *_: fused)
  return value if known is None else jnp.where(known, value, near)


def _half(a: Array, b: Array) -> Array:
  return (a + b) / 2


def _larger(a: Array, b: Array) -> Array:
  return jnp.where(jnp.abs(a) >= jnp.abs(b), a, b)


def _planes(source: _Known, count: int, stage: Stage) -> tuple[list[Array], _Known]:
  """Planes, 0 where the source is not known, and the rest, known where known pixels reach."""
  planes, smooth, sums = [], source, _Sums.of(source)
  for k in range(count):
    image = smooth.value
    sums = sums.smooth(functools.partial(_blur, spacing=2**k, stage=stage))
    smooth = sums.divide()
    planes.append(_where(source.known, image - smooth.value))
  return planes, smooth


def _activity(plane: Array, known: Array | None, stage: Stage) -> Array:
  """The smoothed size of a plane's details."""
  sums = _Sums.of(_Known(jnp.abs(plane), known))
  return sums.smooth(functools.partial(_blur, stage=stage)).divide().value


def _mean(image: Array, known: Array | None) -> Array:
  """The mean of every image over what is known, 0 where nothing is."""
  if known is None:
    return image.mean(PIXELS, keepdims=True)
  count = known.sum(PIXELS, keepdims=True)
  return _where(known, image).sum(PIXELS, keepdims=True) / jnp.maximum(count, 1)


def _pyramid(source: _Known, sizes: list[Array | None], stage: Stage) -> list[_Known]:
  """The details, finest first, and the coarsest level. sizes: of each level with details."""
  levels, own, sums = [], source, _Sums.of(source)
  for size in sizes:
    blur = functools.partial(_blur, size=size, stage=stage)
    sums = sums.smooth(lambda x, blur=blur: blur(x)[..., ::2, ::2, :])
    smaller = sums.divide()
    detail = own.value - _expand(smaller, own.value.shape, size, stage)
    levels.append(_Known(_where(own.known, detail), own.known))
    own = smaller
  return [*levels, own]


def _expand(image: _Known, shape: tuple[int, ...], size: Array | None, stage: Stage) -> Array:
  """Doubles the size, cropped to `shape`, by zero insertion and smoothing of what is known."""

  def enlarge(x: Array) -> Array:
    twice = [*[(0, 0, 0)] * (x.ndim - 3), (0, 1, 1), (0, 1, 1), (0, 0, 0)]
    spread = jax.lax.pad(4 * x, jnp.zeros((), x.dtype), twice)
    return _blur(spread[..., : shape[-3], : shape[-2], :], size=size, stage=stage)

  return _Sums.of(image).smooth(enlarge).divide().value


def _blur(image: Array, spacing: int = 1, size: Array | None = None, stage: Stage = together):
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
