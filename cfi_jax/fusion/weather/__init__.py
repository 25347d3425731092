"""Weather made on clean pairs: haze, rain, snow and their mixtures, for visible and thermal images.

`draw` draws the parameters of a sample, `degrade` applies them to ONE pair [H, W, C] in [0, 1] with
a map of depth; both are pure, can be jitted, and are mapped over batches by `jax.vmap`.
`on_picture` does both to a named picture of a file.
"""

from cfi_jax.fusion.weather.conditions import (
  KINDS,
  LEVELS,
  THERMAL,
  Weather,
  WeatherOptions,
  draw,
  of_strength,
  parts_of,
)
from cfi_jax.fusion.weather.degrade import degrade, describe
from cfi_jax.fusion.weather.depth import surrogate
from cfi_jax.fusion.weather.picture import LAST_SEED, on_picture
from cfi_jax.fusion.weather.visible import HEIGHT

__all__ = [
  "HEIGHT",
  "KINDS",
  "LAST_SEED",
  "LEVELS",
  "THERMAL",
  "Weather",
  "WeatherOptions",
  "degrade",
  "describe",
  "draw",
  "of_strength",
  "on_picture",
  "parts_of",
  "surrogate",
]
