"""The things that stand in the street of the embedded world: kinds, parts, outlines.

Lengths are in image heights, y points down, the picture is the unit square.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.world.paint import grid
from cfi_jax.datasets.world.street import Camera

_CAMERA = 0.68  # height of a standing person over the height of the camera


class Part(NamedTuple):
  """One piece of a thing, in units of its height; the foot is (0, 0) and `y` points up."""

  x: float
  y: float
  half_width: float
  half_height: float
  rounding: float  # 0 sharp corners ... 1 fully round ends
  tilt: float  # radians
  ellipse: float  # 1 for an ellipse instead of a rounded box
  albedo: float  # times the albedo of the thing
  heat: float  # times the temperature of the thing


# Later parts cover earlier ones. The first number is the height of the thing in persons.
_KINDS = {
  "person": (
    1.0,
    Part(-0.09, 0.25, 0.06, 0.27, 0.8, -0.2, 0, 0.65, 0.93),
    Part(0.09, 0.25, 0.06, 0.27, 0.8, 0.2, 0, 0.65, 0.93),
    Part(-0.17, 0.6, 0.04, 0.21, 1, -0.2, 0, 0.85, 1.0),
    Part(0.17, 0.6, 0.04, 0.21, 1, 0.2, 0, 0.85, 1.0),
    Part(0, 0.62, 0.13, 0.22, 0.6, 0, 0, 1.0, 1.0),
    Part(0, 0.91, 0.08, 0.1, 0, 0, 1, 1.15, 1.12),
  ),
  "car": (
    0.8,
    Part(-0.1, 0.75, 0.68, 0.26, 0.7, 0, 0, 1.0, 0.95),
    Part(-0.1, 0.78, 0.54, 0.15, 0.6, 0, 0, 0.3, 0.75),
    Part(0, 0.42, 1.2, 0.26, 0.5, 0, 0, 1.0, 1.0),
    Part(0.88, 0.46, 0.28, 0.17, 0.5, 0, 0, 1.05, 1.2),
    Part(-0.72, 0.18, 0.2, 0.2, 0, 0, 1, 0.25, 1.1),
    Part(0.72, 0.18, 0.2, 0.2, 0, 0, 1, 0.25, 1.1),
  ),
  "van": (
    1.3,
    Part(-0.2, 0.57, 0.78, 0.43, 0.12, 0, 0, 1.0, 0.95),
    Part(0.72, 0.44, 0.3, 0.3, 0.4, 0, 0, 0.9, 1.05),
    Part(0.8, 0.56, 0.17, 0.13, 0.4, 0, 0, 0.3, 0.75),
    Part(0.86, 0.3, 0.14, 0.12, 0.4, 0, 0, 0.9, 1.25),
    Part(-0.6, 0.13, 0.14, 0.14, 0, 0, 1, 0.25, 1.1),
    Part(0.6, 0.13, 0.14, 0.14, 0, 0, 1, 0.25, 1.1),
  ),
  "dog": (
    0.5,
    Part(-0.36, 0.26, 0.08, 0.27, 1, 0.1, 0, 0.8, 0.95),
    Part(0.36, 0.26, 0.08, 0.27, 1, -0.1, 0, 0.8, 0.95),
    Part(-0.62, 0.8, 0.05, 0.2, 1, -0.6, 0, 0.9, 0.9),
    Part(0, 0.58, 0.52, 0.22, 0, 0, 1, 1.0, 1.0),
    Part(0.58, 0.82, 0.22, 0.16, 0, 0.3, 1, 1.0, 1.1),
  ),
  "crate": (
    0.55,
    Part(0, 0.5, 0.6, 0.5, 0.06, 0, 0, 1.0, 1.0),
    Part(0, 0.5, 0.66, 0.05, 0, 0.69, 0, 0.75, 0.97),
  ),
  "barrel": (
    0.9,
    Part(0, 0.5, 0.42, 0.5, 0.3, 0, 0, 1.0, 1.0),
    Part(0, 0.62, 0.425, 0.05, 0.3, 0, 0, 0.6, 1.1),
    Part(0, 0.3, 0.425, 0.05, 0.3, 0, 0, 0.6, 1.0),
  ),
  "sign": (
    1.3,
    Part(0, 0.35, 0.03, 0.36, 0, 0, 0, 0.6, 0.9),
    Part(0, 0.78, 0.22, 0.22, 0, 0.785, 0, 1.0, 1.0),
    Part(0, 0.78, 0.11, 0.11, 0, 0.785, 0, 0.6, 1.0),
  ),
}
KINDS = tuple(_KINDS)
_PARTS = max(len(parts) for _, *parts in _KINDS.values())
_NOTHING = Part(0, -99.0, 0.01, 0.01, 0, 0, 0, 1.0, 1.0)
_TABLE = np.array(
  [list(parts) + [_NOTHING] * (_PARTS - len(parts)) for _, *parts in _KINDS.values()], np.float32
)
_HEIGHTS = np.array([height for height, *_ in _KINDS.values()], np.float32)
_REACH = np.array(
  [max(abs(p.x) + p.half_width for p in parts) for _, *parts in _KINDS.values()], np.float32
)


@struct.dataclass
class Things:
  """K things that stand in the street, [K] each.

  kind: index into `KINDS`. x, foot: the foot point. height. facing: 1, or -1 for mirrored.
  """

  kind: Array
  x: Array
  foot: Array
  height: Array
  facing: Array

  @property
  def half_width(self) -> Array:
    """Half the width of each thing, in image heights."""
    return self.height * jnp.asarray(_REACH)[self.kind]


@struct.dataclass
class Silhouettes:
  """Outlines of K things, [K, S, S] each.

  distance: to the outline, negative inside. albedo, heat: factors on those of the thing.
  """

  distance: Array
  albedo: Array
  heat: Array


def stand(draws: Array, view: Camera) -> Things:
  """K things of random kind on the ground, spread over the width, the farthest first.

  draws: uniform numbers, [4, K].
  """
  kind, depth, facing, start = draws
  kind = jnp.floor(kind * len(KINDS)).astype(jnp.int32)
  foot = jnp.sort(view.horizon + 0.16 + depth**1.3 * (0.8 - view.horizon))
  # Steps of the golden ratio keep any number of things apart; the depths were drawn independently.
  x = (start[0] + 0.618034 * jnp.arange(kind.size, dtype=jnp.float32)) % 1.0
  return Things(
    kind=kind,
    x=0.06 + 0.88 * x,
    foot=foot,
    height=_CAMERA * (foot - view.horizon) * jnp.asarray(_HEIGHTS)[kind],
    facing=jnp.where(facing < 0.5, -1.0, 1.0),
  )


def silhouettes(things: Things, size: int) -> Silhouettes:
  """The outline of every thing, and its parts as factors on its albedo and temperature."""
  y, x = grid(size)
  height = things.height[:, None, None]
  across = (x[None] - things.x[:, None, None]) * things.facing[:, None, None] / height
  up = (things.foot[:, None, None] - y[None]) / height
  parts = jnp.asarray(_TABLE)[things.kind]
  distance = jnp.full((things.kind.size, size, size), 1e3)
  albedo = heat = jnp.ones_like(distance)
  for index in range(_PARTS):
    part = Part(*(parts[:, index, field, None, None] for field in range(len(Part._fields))))
    inside = _part_distance(part, across, up) * height
    cover = jnp.clip(0.5 - inside * size, 0, 1)
    albedo = albedo + cover * (part.albedo - albedo)
    heat = heat + cover * (part.heat - heat)
    distance = jnp.minimum(distance, inside)
  return Silhouettes(distance, albedo, heat)


def _part_distance(part: Part, across: Array, up: Array) -> Array:
  """Signed distance to a rounded box or (to first order) ellipse, in heights."""
  cos, sin = jnp.cos(part.tilt), jnp.sin(part.tilt)
  u = jnp.abs(cos * (across - part.x) + sin * (up - part.y))
  v = jnp.abs(cos * (up - part.y) - sin * (across - part.x))
  small = jnp.minimum(part.half_width, part.half_height)
  ellipse = (jnp.hypot(u / part.half_width, v / part.half_height) - 1) * small
  radius = part.rounding * small
  du, dv = u - part.half_width + radius, v - part.half_height + radius
  box = jnp.hypot(jnp.maximum(du, 0), jnp.maximum(dv, 0)) + jnp.minimum(jnp.maximum(du, dv), 0)
  return jnp.where(part.ellipse > 0, ellipse, box - radius)
