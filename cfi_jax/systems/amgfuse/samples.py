"""Samples: a degraded pair, the clean one, and what their fusion should look like."""

import jax
import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.fusion import rules
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import WeatherOptions
from cfi_jax.images.ops import PIXELS

COLOUR = ("visible", "clean_visible", "pseudo")  # images in colour
# Pixels of training crops for each of the 480 rows that weather is described for.
SCALES = (0.5, 1.25)
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


def make_scene(
  images: dict[str, Array], key: Array, weather: WeatherOptions, target: WaveletOptions
) -> Scene:
  """The sample of images [H, W, C] by name: the five of a `Scene`, or a clean pair.

  Weather is made on a clean pair, by its image "depth" where it has one. Its pseudo ground truth is
  its image "pseudo", or else a fusion by `rules.wavelet` with the options `target`.
  """
  images = {n: in_colour(x) if n in COLOUR else x for n, x in images.items()}
  if "clean_visible" in images:
    return Scene(**images)
  clean = Pair(images["visible"], images["infrared"])
  pseudo = images.get("pseudo")
  if pseudo is None:
    pseudo = fuse_by_rule(clean.visible, clean.infrared, target)
  seen = under_weather(key, clean, images.get("depth"), weather) if weather.kinds else clean
  return Scene(seen.visible, seen.infrared, clean.visible, clean.infrared, pseudo)


def under_weather(key: Array, pair: Pair, depth: Array | None, options: WeatherOptions) -> Pair:
  """The pair, a cut of a larger picture, under weather that is drawn.

  Which rows of the picture it shows, and how large its pixels are, is drawn, too.
  """
  weather_key, depth_key, window_key, scale_key, draw_key = jax.random.split(key, 5)
  if depth is None:
    share, start = jax.random.uniform(window_key, (2,))
    share = 0.25 + 0.75 * share
    top = start * (1 - share)
    depth = weather_lib.surrogate(depth_key, pair.visible, window=(top, top + share))
  scale = jax.random.uniform(scale_key, (), minval=SCALES[0], maxval=SCALES[1])
  drawn = weather_lib.draw(draw_key, options)
  return weather_lib.degrade(weather_key, pair, depth, drawn, scale=scale)


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
