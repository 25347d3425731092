"""Weather in visible images: what falls before the camera, and the veil of scattered light."""

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core import keys
from cfi_jax.core.types import Array
from cfi_jax.fusion.weather.conditions import Weather

HEIGHT = 480  # rows of a picture that lengths in pixels are given for
# Scattering dims the scene but not the noise of the sensor: what it took of noise of this standard
# deviation is added again. Without that haze would cost no contrast-to-noise at all.
SENSOR_NOISE = 0.01
FAR_END = 0.4  # km to the farthest thing, for the veil of rain
_STREAKS = (1.0, 0.7, 0.5)  # sizes of the layers of rain, near to far
_OPACITY = (0.1, 0.35)  # of streaks
# Radii of flakes in pixels, and their shares of the number, in three classes.
_RADII, _SHARES = ((0.7, 1.5), (1.5, 3.0), (3.0, 7.0)), (0.7, 0.25, 0.05)
_FLAKE_OPACITY = (0.3, 1.0)


def optical_depths(weather: Weather, depth: Array) -> Array:
  """Optical depth of each kind at a depth map [H, W, 1], [3, H, W, 1].

  Rain: 0.312 R^0.67 per km at R mm/h (Halder, Lalonde and de Charette 2019, "Physics-Based
  Rendering for Improving Robustness to Rain"). Snow: 1.36 c^0.65 at the far end where flakes cover
  the share c, 0.7 of it right before the camera; ours, near transmissions of 0.9, 0.8 and 0.74.
  """
  rain = 0.312 * weather.rain**0.67 * FAR_END
  snow = 1.36 * weather.snow**0.65
  return jnp.stack([weather.haze * depth, rain * depth, snow * (0.7 + 0.3 * depth)])


def scatter(key: Array, image: Array, weather: Weather, depth: Array) -> Array:
  """Shows an image [H, W, C] through the air: J t + A (1 - t), t = exp(-optical depth).

  Koschmieder 1924; Narasimhan and Nayar 2002, "Vision and the Atmosphere". Of mixtures A is the
  mean of the kinds' airlights weighted by their optical depths.
  """
  depths = optical_depths(weather, depth)
  total = depths.sum(0)
  share = depths / jnp.maximum(total, 1e-9)[None]
  light = (share * weather.airlight.reshape(-1, 1, 1, 1)).sum(0)
  tint = weather.tint if image.shape[-1] == 3 else weather.tint.mean(keepdims=True)
  kept = jnp.exp(-total)
  lost_noise = SENSOR_NOISE * jnp.sqrt(1 - kept**2)
  seen = image * kept + (light + tint.reshape(1, 1, -1)) * (1 - kept)
  return seen + lost_noise * jax.random.normal(key, image.shape, image.dtype)


def streaks(key: Array, weather: Weather, height: int, width: int, scale: Array | float) -> Array:
  """Streaks of rain, their opacity [height, width, 1].

  The number of drops above 1 mm follows the rain rate R as Marshall and Palmer (1948) have it, N =
  8000 / L exp(-L) per cubic metre, L = 4.1 R^-0.21 per mm. N / 10^4 per cent of the pixels of 480
  rows are heads of streaks in the nearest of three layers, more in those whose streaks are smaller.
  Number, length (16 (R / 1.2)^0.5 pixels of 480 rows) and opacity are ours. scale: pixels for one
  of 480 rows.
  """
  slope = 4.1 * jnp.maximum(weather.rain, 1e-3) ** -0.21
  heads = 8000 / slope * jnp.exp(-slope) * 1e-4 / 100  # of the pixels
  length = 16 * jnp.sqrt(weather.rain / 1.2) * weather.length * scale
  low, high = (value * weather.opacity for value in _OPACITY)
  layers = []
  for index, size in enumerate(_STREAKS):
    layer = keys.fold(key, index)
    angle = weather.angle + 0.05 * jax.random.normal(keys.fold(layer, "angle"))
    line = _line(height, width, angle, length * size, jnp.maximum(weather.width * scale, 0.5))
    density = heads / size / jnp.maximum(scale, 1 / 4)
    layers.append((_impulses(layer, height, width, density, low * size, high * size), line))
  return jnp.where(weather.rain > 0, _cast(layers), 0)


def flakes(key: Array, weather: Weather, height: int, width: int, scale: Array | float) -> Array:
  """Opacity of snow flakes, [height, width, 1]: soft ellipses of three sizes, blurred by motion.

  Sizes, their shares and opacity are ours. scale: pixels for one of 480 rows.
  """
  layers = []
  mean_area = sum(
    share * np.pi * (low**2 + low * high + high**2) / 3 * scale**2
    for share, (low, high) in zip(_SHARES, _RADII, strict=True)
  )
  number = weather.snow / jnp.maximum(mean_area, 1.0)  # flakes per pixel
  for index, ((low, high), share) in enumerate(zip(_RADII, _SHARES, strict=True)):
    for half in range(2):  # each class in two sizes
      layer = keys.fold(key, 2 * index + half)
      draws = jax.random.uniform(keys.fold(layer, "shape"), (3,))
      radius = (low + (high - low) * (draws[0] + half) / 2) * scale
      shape = _flake(
        height,
        width,
        radius,
        0.6 + 0.4 * draws[1],
        np.pi * draws[2],
        weather,
        weather.motion * scale,
      )
      dots = _impulses(layer, height, width, number * share / 2, *_FLAKE_OPACITY)
      layers.append((dots, shape))
  return jnp.where(weather.snow > 0, _cast(layers), 0)


def fall(key: Array, image: Array, weather: Weather, scale: Array | float) -> Array:
  """Lets rain and snow fall before an image [H, W, C], without their veil.

  Rain adds its streaks, J + S (Li, Cheong and Tan 2019, "Heavy Rain Image Restoration"); snow
  covers, J (1 - Z) + C Z (Chen et al. 2020, JSTASR; Liu et al. 2018, DesnowNet).
  """
  rain_key, snow_key = jax.random.split(key)
  height, width = image.shape[:2]
  rained = image + streaks(rain_key, weather, height, width, scale)
  cover = flakes(snow_key, weather, height, width, scale)
  return rained * (1 - cover) + weather.flakes * cover


def _impulses(
  key: Array, height: int, width: int, density: Array, low: Array | float, high: Array | float
) -> Array:
  """Single pixels between `low` and `high` at that share of the pixels, 0 elsewhere, [h, w]."""
  place, value = jax.random.split(key)
  there = jax.random.uniform(place, (height, width)) < density
  return there * jax.random.uniform(value, (height, width), minval=low, maxval=high)


def _cast(layers: list[tuple[Array, Array]]) -> Array:
  """The shapes put wherever impulses are, cut at 1, [h, w, 1]; both wrap around the borders."""
  spectrum = sum(jnp.fft.rfft2(dots) * jnp.fft.rfft2(shape) for dots, shape in layers)
  return jnp.clip(jnp.fft.irfft2(spectrum, layers[0][0].shape), 0, 1)[..., None]


def _around(height: int, width: int, angle: Array) -> tuple[Array, Array]:
  """Distances across and along a direction from pixel (0, 0), on a torus, [h, w] each."""
  y, x = ((np.arange(size) + size // 2) % size - size // 2 for size in (height, width))
  y, x = y[:, None].astype(np.float32), x[None].astype(np.float32)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  return x * cos - y * sin, x * sin + y * cos


def _line(height: int, width: int, angle: Array, length: Array, deviation: Array) -> Array:
  """A line of that length through pixel (0, 0), with a Gaussian profile and faint ends, [h, w]."""
  across, along = _around(height, width, angle)
  end = jnp.clip((length / 2 - jnp.abs(along)) / jnp.maximum(length / 4, 1.0), 0, 1)
  return jnp.exp(-0.5 * (across / deviation) ** 2) * end


def _flake(
  height: int,
  width: int,
  radius: Array,
  roundness: Array,
  turn: Array,
  weather: Weather,
  motion: Array,
) -> Array:
  """A soft ellipse at pixel (0, 0), drawn out along the drift by its motion, [h, w]."""
  across, along = _around(height, width, turn)
  # The distance from a segment: the ellipse is moved along the drift by `motion`.
  dx, dy = jnp.sin(weather.drift - turn), jnp.cos(weather.drift - turn)
  moved = jnp.clip(across * dx + along * dy, -motion / 2, motion / 2)
  distance = jnp.hypot((across - moved * dx) / roundness, along - moved * dy)
  soft = jnp.maximum(radius / 2, 0.5)
  thinned = radius / (radius + motion / 8)  # light is shared by the pixels that it passes
  return jnp.clip((radius + soft / 2 - distance) / soft, 0, 1) * thinned
