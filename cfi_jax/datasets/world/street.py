"""The empty street of the embedded world, by day or night: sky, buildings, trees, road, lamps.

Lengths are in image heights, y points down, the picture is the unit square; `y` is [S, 1] and `x`
is [1, S]. Albedo, light and radiance are in [0, 1].
"""

import dataclasses

import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.world.paint import grid, noise, over, paint, smooth

COLD_SKY = 0.1  # infrared radiance of the zenith, which things of low emissivity reflect
HOUSES = 0.05  # how far below the horizon the ground before the houses is seen
_BUILDINGS, _TREES, _LAMPS = 7, 2, 3


@struct.dataclass
class Camera:
  """Vanishing point of the street: `horizon` (y) and `centre` (x), scalars."""

  horizon: Array
  centre: Array


@struct.dataclass
class Street:
  """The empty street, [S, S] each.

  albedo: share of the light that is reflected. light: light that falls on it. glow: light it emits.
  radiance: infrared radiance. depth: distance, 1 that of the houses.
  """

  albedo: Array
  light: Array
  glow: Array
  radiance: Array
  depth: Array


@struct.dataclass
class Textures:
  """Noise in [-1, 1], [S, S] each; the last three recede towards the horizon."""

  grain: Array
  leaves: Array
  cloth: Array
  billows: Array
  edges: Array
  patches: Array
  warmth: Array
  clouds: Array


TEXTURES = len(dataclasses.fields(Textures))


def camera(draws: Array) -> Camera:
  """A camera that looks along the street; draws: uniform numbers, [>= 2]."""
  return Camera(horizon=0.34 + 0.12 * draws[0], centre=0.3 + 0.4 * draws[1])


def distance(view: Camera, foot: Array) -> Array:
  """Distance of what stands on the ground at height `foot` of the picture, 1 that of the houses."""
  return jnp.minimum(HOUSES / jnp.maximum(foot - view.horizon, HOUSES), 1)


def textures(draws: Array, view: Camera, size: int) -> Textures:
  """All noise of a scene; draws: uniform numbers, [TEXTURES, NOISE_DRAWS]."""
  y, x = grid(size)
  # Distance from the observer's feet (or head) over its value at the horizon.
  recede = 0.15 / (jnp.abs(y[:, 0] - view.horizon) + 0.15)
  flat = noise(draws[:5], y[:, 0], x[0])
  receding = noise(draws[5:], recede, x[0])
  return Textures(*flat, *receding)


def street(draws: Array, noises: Textures, view: Camera, night: Array) -> Street:
  """Paints the street back to front.

  draws: uniform numbers, [5, >= 8 * _BUILDINGS]. night: bool scalar.
  """
  scene = _sky(draws[0], noises, view, night)
  scene = _buildings(draws[1], scene, view, night)
  scene = _ground(draws[2], scene, noises, view)
  scene = _trees(draws[3], scene, noises, view)
  return _lamps(draws[4], scene, view, night)


def _daylight(draws: Array, night: Array, size: int) -> Array:
  """Level and direction of the light, [S, S]: a slope across the picture."""
  y, x = grid(size)
  level, slope_x, slope_y = draws[:3]
  level = jnp.where(night, 0.25 + 0.12 * level, 0.75 + 0.25 * level)
  return level * (1 + 0.5 * (slope_x - 0.5) * (x - 0.5) + 0.2 * (slope_y - 0.5) * (y - 0.5))


def _sky(draws: Array, noises: Textures, view: Camera, night: Array) -> Street:
  """Light, and a sky: bright towards the horizon, with clouds; coldest overhead."""
  clouds = noises.clouds
  y, _ = grid(clouds.shape[0])
  low = jnp.clip(y / view.horizon, 0, 1)
  bright = (0.68 + 0.2 * low + 0.3 * clouds) * jnp.where(night, 0.35, 1.0)
  return Street(
    albedo=bright,
    light=_daylight(draws, night, clouds.shape[0]),
    glow=jnp.zeros_like(clouds),
    radiance=COLD_SKY + 0.13 * low**2 + 0.1 * clouds,
    depth=jnp.ones_like(clouds),
  )


def _window_draw(row: Array, column: Array, seed: Array) -> Array:
  """A uniform number in [0, 1) per window: integer hash, so that every backend draws the same."""
  h = row.astype(jnp.uint32) * 73856093 + column.astype(jnp.uint32) * 19349663 + seed
  h = (h ^ (h >> 15)) * jnp.uint32(0x2C1B3C6D)
  h = (h ^ (h >> 12)) * jnp.uint32(0x297A2D39)
  return ((h ^ (h >> 15)) >> 8).astype(jnp.float32) / 2**24


def _buildings(draws: Array, scene: Street, view: Camera, night: Array) -> Street:
  """A row of houses: windows dark by day, some lit by night, cooler than the wall."""
  size = scene.albedo.shape[0]
  y, x = grid(size)
  draws = draws[: 8 * _BUILDINGS].reshape(8, _BUILDINGS, 1, 1)

  def draw(index, low, high):
    return low + (high - low) * draws[index]

  centre = (jnp.arange(_BUILDINGS)[:, None, None] + draw(0, 0.2, 0.8)) / _BUILDINGS
  half, top = draw(1, 0.06, 0.12), view.horizon - draw(2, 0.06, 0.31)
  albedo, radiance = draw(3, 0.25, 0.65), draw(4, 0.28, 0.52)
  # Houses seen across the picture are lower the nearer they stand to the vanishing point.
  top = top + 0.35 * (view.horizon - top) * jnp.exp(-(((centre - view.centre) / 0.15) ** 2))
  across, down = x[None] - (centre - half), y[None] - top
  edge = jnp.minimum(jnp.minimum(across, 2 * half - across), down)
  share = over(jnp.clip(0.5 + edge * size, 0, 1) * (y[None] < view.horizon + HOUSES))

  column, row = across / draw(5, 0.034, 0.046), down / draw(6, 0.045, 0.06)
  in_column, in_row = column % 1.0, row % 1.0
  pane = (in_column > 0.28) & (in_column < 0.78) & (in_row > 0.3) & (in_row < 0.8) & (edge > 0.008)
  seed = (draws[7] * 2**23).astype(jnp.uint32)
  chance = _window_draw(jnp.floor(jnp.maximum(row, 0)), jnp.floor(jnp.maximum(column, 0)), seed)
  lit = pane & (chance < 0.35) & night
  pane_albedo = jnp.where(chance > 0.8, 0.7, 0.12)  # a few reflect the sky
  shade = 1 + 0.3 * (across / half - 1) * (0.5 - view.centre)
  return scene.replace(
    albedo=paint(scene.albedo, share, jnp.where(pane, pane_albedo, albedo * shade)),
    glow=paint(scene.glow, share, jnp.where(lit, 0.3 + 1.2 * chance, 0.0)),
    radiance=paint(
      scene.radiance, share, radiance - jnp.where(pane, 0.1, 0.0) + jnp.where(lit, 0.08, 0.0)
    ),
    depth=paint(scene.depth, share, 1.0),
  )


def _ground(draws: Array, scene: Street, noises: Textures, view: Camera) -> Street:
  """Road with kerbs and lane marks between pavements; its warmth has a structure of its own."""
  size = scene.albedo.shape[0]
  y, x = grid(size)
  near = jnp.clip((y - view.horizon) / (1 - view.horizon), 1e-3, 1)
  far = 1 / (near + 0.15)  # 0.87 at the feet of the camera, 6.6 at the horizon
  grain, patches, warmth = noises.grain, noises.patches, noises.warmth
  half_width, phase, lane = draws[:3]
  aside = jnp.abs(x - view.centre) / near
  half_width = 0.5 + 0.3 * half_width
  on_road = jnp.clip(0.5 + (half_width - aside) * near * size, 0, 1)
  kerb = jnp.clip(1.2 - jnp.abs(aside - half_width) / 0.025, 0, 1)
  dash = (aside < 0.016 + 0.008 * lane) & ((far * 1.6 + phase) % 1.0 < 0.55)
  albedo = 0.24 + 0.08 * patches + 0.07 * grain + (0.22 + 0.1 * patches) * (1 - on_road)
  albedo = jnp.where(dash, 0.85, albedo + 0.25 * kerb)
  radiance = 0.4 + 0.15 * warmth + 0.02 * grain - 0.07 * (1 - on_road) - 0.03 * kerb
  share = jnp.clip(0.5 + (y - view.horizon) * size, 0, 1) * jnp.ones_like(x)
  return scene.replace(
    albedo=paint(scene.albedo, share[None], albedo[None]),
    glow=scene.glow * (1 - share),
    radiance=paint(scene.radiance, share[None], radiance[None]),
    depth=paint(scene.depth, share[None], distance(view, y)[None]),
  )


def _roadside(view: Camera, near: Array, distance: Array) -> tuple[Array, Array, Array]:
  """Foot points beside the road, on alternating sides; x, y and the scale there, [N, 1, 1] each."""
  side = jnp.where(jnp.arange(near.size) % 2 == 0, -1.0, 1.0)
  foot = view.horizon + near * (1 - view.horizon)
  scale = foot - view.horizon
  x = view.centre + side * distance * near
  return x[:, None, None], foot[:, None, None], scale[:, None, None]


def _trees(draws: Array, scene: Street, noises: Textures, view: Camera) -> Street:
  """Dark ragged crowns on thin trunks; leaves are as warm as the air."""
  size = scene.albedo.shape[0]
  y, x = grid(size)
  depth, aside = draws[: 2 * _TREES].reshape(2, _TREES)
  foot_x, foot_y, scale = _roadside(view, jnp.sort(0.08 + 0.22 * depth), 1.0 + 0.8 * aside)
  leaves = noises.leaves[None]
  crown = jnp.hypot((x[None] - foot_x) / 0.75, (y[None] - foot_y + 1.9 * scale)) / scale
  crown = (1 + 0.6 * leaves - crown) * scale
  trunk = jnp.minimum(0.07 * scale - jnp.abs(x[None] - foot_x), foot_y - y[None])
  trunk = jnp.minimum(trunk, y[None] - foot_y + 1.6 * scale)
  share = over(jnp.clip(0.5 + jnp.maximum(crown, trunk) * size, 0, 1))
  return scene.replace(
    albedo=paint(scene.albedo, share, 0.17 + 0.22 * leaves),
    glow=scene.glow * (1 - share.sum(0)),
    radiance=paint(scene.radiance, share, 0.33 + 0.08 * leaves),
    depth=paint(scene.depth, share, distance(view, foot_y)),
  )


def _lamps(draws: Array, scene: Street, view: Camera, night: Array) -> Street:
  """Street lamps: by night they glow, light the ground below, and their heads are warm."""
  size = scene.albedo.shape[0]
  y, x = grid(size)
  depth, aside = draws[: 2 * _LAMPS].reshape(2, _LAMPS)
  near = jnp.array([0.14, 0.26, 0.5], jnp.float32) * (0.8 + 0.4 * depth)
  foot_x, foot_y, scale = _roadside(view, near, 0.85 + 0.15 * aside)
  head_y = foot_y - 1.55 * scale
  dx, dy = x[None] - foot_x, y[None] - head_y
  pole = jnp.minimum(0.025 * scale + 0.002 - jnp.abs(dx), jnp.minimum(dy, foot_y - y[None]))
  share = over(jnp.clip(0.5 + pole * size, 0, 1))
  bulb = jnp.clip(0.5 + (0.09 * scale + 0.004 - jnp.hypot(dx, dy)) * size, 0, 1)
  halo = jnp.exp(-jnp.hypot(dx, dy) / (0.22 * scale))
  pool = jnp.exp(-((dx / scale) ** 2) - ((y[None] - foot_y) / (0.4 * scale)) ** 2)
  cone = jnp.exp(-((dx / (0.8 * scale)) ** 2)) * smooth(dy / scale) * (y[None] < foot_y)
  shine = jnp.where(night, (bulb + 0.45 * halo).sum(0), 0.0)
  lit = jnp.where(night, jnp.maximum(0.75 * pool, 0.45 * cone).max(0), 0.0)
  warm = bulb.max(0) * jnp.where(night, 0.4, 0.03)
  return scene.replace(
    albedo=paint(paint(scene.albedo, share, 0.2), over(bulb), 0.7),
    light=scene.light + lit,
    glow=scene.glow * (1 - share.sum(0)) + shine,
    radiance=paint(scene.radiance, share, 0.3) + warm,
    depth=paint(scene.depth, over(jnp.maximum(share, bulb)), distance(view, foot_y)),
  )
