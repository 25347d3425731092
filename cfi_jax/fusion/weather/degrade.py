"""Weather applied to a pair, and what was applied, for records."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import thermal, visible
from cfi_jax.fusion.weather.conditions import KINDS, Weather


def degrade(
  key: Array, pair: Pair, depth: Array, weather: Weather, *, scale: Array | float | None = None
) -> Pair:
  """Shows ONE pair under that weather; visible [H, W, C], infrared [H, W, 1], both in [0, 1].

  depth: [H, W, 1], 0 near, 1 at the far end. scale: pixels for each of the 480 rows that lengths of
  streaks and radii of flakes are given for; by default the height over 480. Amounts of 0 change
  nothing, and under one key larger amounts are more of the same weather.
  """
  chex.assert_rank([pair.visible, pair.infrared, depth], 3)
  chex.assert_equal_shape([pair.infrared, depth])
  chex.assert_equal_shape_prefix([pair.visible, depth], 2)
  scale = pair.visible.shape[0] / visible.HEIGHT if scale is None else scale
  fall_key, scatter_key, thermal_key = jax.random.split(key, 3)
  fallen = visible.fall(fall_key, pair.visible, weather, scale)
  seen = visible.scatter(scatter_key, fallen, weather, depth)
  felt = jnp.where(
    weather.attenuated,
    thermal.attenuated(pair.infrared, weather, depth),
    thermal.physical(thermal_key, pair.infrared, weather, depth),
  )
  return Pair(visible=jnp.clip(seen, 0, 1), infrared=jnp.clip(felt, 0, 1))


def describe(weather: Weather) -> dict[str, Any]:
  """The parameters of one sample as numbers for JSON, by the names of the fields of `Weather`."""
  described = {}
  for name, value in vars(weather).items():
    array = np.asarray(value)
    if array.dtype == bool:
      described[name] = bool(array)
    elif array.shape == (len(KINDS),) and name != "tint":
      numbers = (round(float(x), 6) for x in array)
      described[name] = dict(zip(KINDS, numbers, strict=True))
    else:
      described[name] = np.round(array.astype(float), 6).tolist()
  return described
