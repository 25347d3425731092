"""Weather in thermal images of 8 to 14 um: contrast falls, nothing streaks."""

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion.weather.conditions import Weather
from cfi_jax.fusion.weather.visible import optical_depths
from cfi_jax.images import ops


def physical(key: Array, image: Array, weather: Weather, depth: Array) -> Array:
  """Radiation through air, L = tau L_object + (1 - tau) L_air, on an image [H, W, 1].

  tau = exp(-ratio x visible optical depth). Air is colder than most things; the camera's gain
  control, its noise and a blur by forward scattering follow, all the more the thicker the air.
  Drops and flakes leave no streaks: they are below the resolution of microbolometers, whose 10 ms
  smear them. After Minkina and Klecha 2016 (J. Sens. Sens. Syst. 5); ranges are ours.
  """
  ratio = weather.thermal_ratio.reshape(-1, 1, 1, 1)
  kept = jnp.exp(-(ratio * optical_depths(weather, depth)).sum(0))
  lost = 1 - kept.mean()
  air = jnp.maximum(image.mean() - weather.air * image.std(), 0)
  seen = kept * image + (1 - kept) * air
  seen = _blur(seen, weather.thermal_blur * lost)
  seen = seen.mean() + (1 + (weather.gain - 1) * lost) * (seen - seen.mean())
  pixel_key, row_key = jax.random.split(key)
  noise = weather.thermal_noise * jax.random.normal(pixel_key, image.shape, image.dtype)
  rows = weather.row_noise * jax.random.normal(row_key, (len(image), 1, 1), image.dtype)
  return seen + lost * (noise + rows)


def attenuated(image: Array, weather: Weather, depth: Array) -> Array:
  """The image [H, W, 1] times 0.35 + 0.65 (1 - depth): what AWMM-100k's samples show, if not why.

  Their degraded infrared images are the clean ones times 0.3 to 1, near objects least; whatever the
  amount of weather.
  """
  there = weather.amounts.sum() > 0
  return jnp.where(there, image * (0.35 + 0.65 * (1 - depth)), image)


def _blur(image: Array, deviation: Array) -> Array:
  """Smooths by a Gaussian of that standard deviation, at most 1 pixel; its borders are repeated."""
  side = jnp.exp(-0.5 / jnp.maximum(deviation, 1e-2) ** 2)
  far = jnp.exp(-2.0 / jnp.maximum(deviation, 1e-2) ** 2)
  taps = jnp.stack([far, side, jnp.ones_like(side), side, far])
  return ops.blur(image, tuple(taps / taps.sum()), border="edge")
