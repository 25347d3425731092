"""Samples: a degraded pair, the clean one, and what their fusion should look like."""

import jax
import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.fusion import rules
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.images.ops import PIXELS

COLOUR = ("visible", "clean_visible", "pseudo")  # images in colour
LUMA = (0.299, 0.587, 0.114)  # BT.601


@struct.dataclass
class Scene:
  """Aligned images of one scene, [..., H, W, 3] and infrared [..., H, W, 1], in [0, 1].

  visible, infrared: degraded by weather. clean_visible, clean_infrared: without.
  pseudo: pseudo ground truth, a fusion of the clean images.
  """

  visible: Array
  infrared: Array
  clean_visible: Array
  clean_infrared: Array
  pseudo: Array


def make_scene(images: dict[str, Array], target: WaveletOptions) -> Scene:
  """The sample of images [H, W, C] by name, the five of a `Scene` or a clean pair alone.

  A pair counts as seen in clear weather: its degraded images are the clean ones. target: of
  `rules.wavelet`, which makes its pseudo ground truth.
  """
  images = {n: in_colour(x) if n in COLOUR else x for n, x in images.items()}
  if "pseudo" in images:
    return Scene(**images)
  visible, infrared = images["visible"], images["infrared"]
  pseudo = fuse_by_rule(visible, infrared, target)
  return Scene(visible, infrared, visible, infrared, pseudo)


def fuse_by_rule(visible: Array, infrared: Array, target: WaveletOptions) -> Array:
  """`rules.wavelet` of the lumas, in the colours of the visible image, [..., H, W, 3]."""
  before = luma(visible)
  fused = rules.wavelet(Pair(visible=before, infrared=infrared), target)
  return jnp.clip(visible + (fused - before), 0, 1)


def in_colour(image: Array) -> Array:
  """[..., H, W, 3] of an image of one channel or three."""
  return jnp.broadcast_to(image, (*image.shape[:-1], 3))


def luma(image: Array) -> Array:
  """Luma [..., H, W, 1] of RGB images [..., H, W, 3]."""
  weights = jnp.array(LUMA, image.dtype).reshape(3, 1)
  return jnp.matmul(image, weights, precision=jax.lax.Precision.HIGHEST)


def grey(image: Array) -> Array:
  """Mean of the channels, [..., H, W, 1]."""
  return image.mean(PIXELS[-1], keepdims=True)
