"""Fusion rules without training: baselines that every report scores, and a wavelet rule.

A baseline takes and returns uint8 grey levels [H, W]; its third argument is the name of the pair.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.keys import name_number
from cfi_jax.core.types import Array
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS

B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
NOISE_LEVELS = 10.0  # standard deviation of the noise control
_SMALLEST = 8  # pixels of the shorter side of the coarsest pyramid level


def visible(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The visible image itself."""
  _assert_levels(visible_HW, infrared_HW)
  return visible_HW


def infrared(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The infrared image itself."""
  _assert_levels(visible_HW, infrared_HW)
  return infrared_HW


def average(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The mean of both, rounded half up."""
  _assert_levels(visible_HW, infrared_HW)
  return ((visible_HW.astype(np.int32) + infrared_HW + 1) // 2).astype(np.uint8)


def maximum(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The brighter of both at every pixel."""
  _assert_levels(visible_HW, infrared_HW)
  return np.maximum(visible_HW, infrared_HW)


def laplacian(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """Laplacian pyramid (Burt and Adelson 1983): the larger detail, the mean coarsest level."""
  _assert_levels(visible_HW, infrared_HW, rank=2)
  first, second = (_pyramid(x.astype(np.float64)) for x in (visible_HW, infrared_HW))
  image = (first[-1] + second[-1]) / 2
  for a, b in zip(first[-2::-1], second[-2::-1], strict=True):
    image = np.where(np.abs(a) >= np.abs(b), a, b) + _expand(image, a.shape)
  return _levels(image)


def noise_control(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The average plus Gaussian noise, drawn anew for every name: it improves no image."""
  _assert_levels(visible_HW, infrared_HW)
  rng = np.random.default_rng(name_number(name))
  noise = NOISE_LEVELS * rng.standard_normal(visible_HW.shape)
  return _levels((visible_HW.astype(np.float64) + infrared_HW) / 2 + noise)


NOISE = "average + noise"
BASELINES: dict[str, Callable[[np.ndarray, np.ndarray, str], np.ndarray]] = {
  "visible": visible,
  "infrared": infrared,
  "average": average,
  "maximum": maximum,
  "Laplacian pyramid": laplacian,
  NOISE: noise_control,
}


def _assert_levels(*images: np.ndarray, rank: int | None = None) -> None:
  chex.assert_type(images, np.uint8)
  chex.assert_equal_shape(images)
  if rank is not None:
    chex.assert_rank(images, rank)


def wavelet_fusion(
  pair: Pair, *, planes: int, exponent: float, gain: float, spread: float, brighter: float
) -> Array:
  """Fuses pairs [..., H, W, 1] by their wavelet planes and low-pass residuals; not clipped.

  Fusion by the a trous transform (Nunez et al. 1999) with weights in place of a choice. The
  options are those of `losses.TargetOptions`.
  """
  ops.assert_grey(pair)
  first, second = (wavelet_planes(image, planes) for image in (pair.visible, pair.infrared))
  means = [rest.mean(PIXELS, keepdims=True) for _, rest in (first, second)]
  fused = sum(means) / 2 + spread * (first[1] + second[1] - sum(means))
  fused += brighter * jnp.abs(first[1] - second[1]) / 2
  for visible, infrared in zip(first[0], second[0], strict=True):
    activities = (ops.blur(jnp.abs(plane), B3_SPLINE) for plane in (visible, infrared))
    # The odds a^n : b^n without powers of small numbers, which underflow.
    a, b = (jnp.log(activity + 1e-6) for activity in activities)
    weight = jax.nn.sigmoid(exponent * (a - b))
    fused += gain * (weight * visible + (1 - weight) * infrared)
  return fused


def wavelet_planes(image: Array, count: int) -> tuple[list[Array], Array]:
  """Planes of the a trous transform, finest first, and the smooth rest; their sum is `image`.

  The low-pass filter is the B3 spline (Starck and Murtagh 1994), its taps 2^k pixels apart.
  """
  planes = []
  for level in range(count):
    smooth = ops.blur(image, B3_SPLINE, 2**level)
    planes.append(image - smooth)
    image = smooth
  return planes, image


def _levels(image: np.ndarray) -> np.ndarray:
  return np.clip(np.floor(image + 0.5), 0, 255).astype(np.uint8)


def _blur(image: np.ndarray) -> np.ndarray:
  """Smooths both axes by the B3 spline, edges mirrored."""
  for _ in range(2):  # rows of the image, then of its transpose
    padded = np.pad(image, ((0, 0), (2, 2)), mode="reflect")
    image = sum(tap * padded[:, k : k + image.shape[1]] for k, tap in enumerate(B3_SPLINE)).T
  return image


def _expand(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Doubles the size, cropped to `shape`, by zero insertion and smoothing."""
  spread = np.zeros((2 * image.shape[0], 2 * image.shape[1]))
  spread[::2, ::2] = 4 * image
  return _blur(spread[: shape[0], : shape[1]])


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
  """The details, finest first, and the coarsest level."""
  levels = []
  while min(image.shape) >= 2 * _SMALLEST:
    smaller = _blur(image)[::2, ::2]
    levels.append(image - _expand(smaller, image.shape))
    image = smaller
  return [*levels, image]
