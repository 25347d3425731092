"""One scene of the embedded world, seen by both cameras, and the truth about what each shows.

A pure function of (key, options) with static shapes: jit it, vmap it over keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.world import things as things_lib
from cfi_jax.datasets.world.options import SceneOptions
from cfi_jax.datasets.world.paint import NOISE_DRAWS, grid, over, paint, smooth
from cfi_jax.datasets.world.street import (
  COLD_SKY,
  TEXTURES,
  Camera,
  Street,
  Textures,
  camera,
  distance,
  street,
  textures,
)
from cfi_jax.fusion.types import Pair

NONE, VISIBLE, INFRARED, BOTH = 0, 1, 2, 3  # values of `Scene.carrier`

_TEMPERATURE = (0.1, 0.98)  # in units of infrared radiance at emissivity 1
_BRIGHTNESS = (0.04, 0.95)
_EMISSIVITY = (0.85, 0.98)
_SURROUNDINGS = 0.05  # how far around an object its surroundings reach, in image heights
_MARGIN = 0.08  # how far smoke and darkness reach beyond an object: they hide its surroundings too
_MIN_PIXELS = 8  # an object of fewer visible pixels is not in the scene


@struct.dataclass
class Scene:
  """Two pictures of one scene and the truth about its K = options.objects[1] slots for objects.

  The first slots hold the objects that are present, the rest are zero. `objects` is k + 1 at the
  pixels of the object in slot k, 0 elsewhere. What others cover all but entirely is not present.

  An image carries an object whose contrast there reaches `options.visibility`. Contrast is measured
  before noise, blur and smoke included: the smaller of two root mean squares over its pixels, of
    picture - mean of the object's surroundings   (it stands out)
    picture - picture without any objects   (and it is the cause)
  over the standard deviation of a pixel's noise. Surroundings fade out within 0.05 image heights
  and leave out other objects.

  pair: [S, S, 1] float32 each. objects, carrier: int32 [S, S, 1]; carrier is NONE (also where there
  is no object), VISIBLE, INFRARED or BOTH, one value per object. night: bool []. All others [K]:
  kind: index into `things.KINDS`. temperature, brightness, emissivity: as drawn, but a crossed
  object has the temperature it took on. smoked, darkened, crossed: what befell it.
  contrast_visible, contrast_infrared: see above. hidden_in_visible, hidden_in_infrared: present,
  but not carried there. present: seen at all.
  """

  pair: Pair
  objects: Array
  carrier: Array
  night: Array
  kind: Array
  temperature: Array
  brightness: Array
  emissivity: Array
  smoked: Array
  darkened: Array
  crossed: Array
  contrast_visible: Array
  contrast_infrared: Array
  hidden_in_visible: Array
  hidden_in_infrared: Array
  present: Array


@struct.dataclass
class _Drawn:
  """Random properties of K objects, [K] each, beside their place and kind."""

  temperature: Array
  brightness: Array
  emissivity: Array
  smoked: Array
  darkened: Array
  crossed: Array
  exists: Array


def _draw(draws: Array, options: SceneOptions) -> _Drawn:
  """Temperature and brightness are uniform with exactly the correlation asked for.

  draws: uniform numbers, [8, K].
  """
  least, count = options.objects
  # Uniforms made of normals with correlation r have correlation 6/pi asin(r/2).
  r = 2 * jnp.sin(jnp.pi * options.correlation / 6)
  heat, _, emissivity, smoke, darkness, crossover, number, turn = draws
  first, second = jax.lax.erf_inv(jnp.clip(2 * draws[:2] - 1, -1 + 1e-6, 1 - 1e-6))
  bright = 0.5 + 0.5 * jax.lax.erf(r * first + jnp.sqrt(jnp.maximum(1 - r**2, 0)) * second)

  def spread(uniform, limits):
    return limits[0] + (limits[1] - limits[0]) * uniform

  number = least + jnp.floor(number[0] * (count + 1 - least))
  return _Drawn(
    temperature=spread(heat, _TEMPERATURE),
    brightness=spread(bright, _BRIGHTNESS),
    emissivity=spread(emissivity, _EMISSIVITY),
    smoked=smoke < options.smoke,
    darkened=darkness < options.darkness,
    crossed=crossover < options.crossover,
    # A random choice of the slots: these are sorted by depth.
    exists=(turn[:, None] > turn[None, :]).sum(1) < number,
  )


def scene(key: Array, options: SceneOptions) -> Scene:
  """Draws one scene; see `Scene` and `SceneOptions`."""
  options = _traced(options)
  draw_key, noise_key = jax.random.split(key)
  size = options.size
  set_up = _set_up(draw_key, options)
  noises, empty, drawn = set_up.noises, set_up.empty, set_up.drawn
  stand, shapes, share = set_up.stand, set_up.shapes, set_up.share

  visible, visible_empty = _visible(noises, empty, drawn, stand, shapes, share)
  infrared, infrared_empty = _infrared(empty, drawn, shapes, share, options.infrared_blur)

  inside = (share > 0.5).astype(jnp.float32)
  around = jnp.exp(-((jnp.maximum(shapes.distance, 0) / _SURROUNDINGS) ** 2)) + 1e-6
  around = around * (shapes.distance > 1.5 / size) * (share.sum(0) < 0.02)[None]
  background = _mean(empty.radiance, inside)
  behind = (background - (1 - drawn.emissivity) * COLD_SKY) / drawn.emissivity
  level = _mean(visible, inside)
  visible_noise = jnp.sqrt(options.read_noise**2 + options.shot_noise**2 * level)
  infrared_noise = jnp.hypot(options.infrared_noise, options.pattern_noise)
  per_object = dict(
    kind=stand.kind,
    temperature=jnp.where(drawn.crossed, behind, drawn.temperature),
    brightness=drawn.brightness,
    emissivity=drawn.emissivity,
    smoked=drawn.smoked,
    darkened=drawn.darkened,
    crossed=drawn.crossed,
    contrast_visible=_contrast(visible, visible_empty, inside, around) / (visible_noise + 1e-6),
    contrast_infrared=_contrast(infrared, infrared_empty, inside, around) / (infrared_noise + 1e-6),
  )
  pair = _sense(noise_key, visible, infrared, options)
  return _label(pair, set_up.night, inside, per_object, options.visibility)


def depth(key: Array, options: SceneOptions) -> Array:
  """Distance of what is seen at every pixel of `scene(key, options)`, [S, S, 1].

  1 is that of the houses and of the sky, which is cut there; 0 is the camera.
  """
  set_up = _set_up(jax.random.split(key)[0], _traced(options))
  distances = distance(set_up.view, set_up.stand.foot)[:, None, None]
  return paint(set_up.empty.depth, set_up.share, distances)[..., None]


@struct.dataclass
class _SetUp:
  """Things before the cameras, K of them with outlines and shares of the pixels, on a street."""

  view: Camera
  noises: Textures
  night: Array
  empty: Street
  drawn: _Drawn
  stand: things_lib.Things
  shapes: things_lib.Silhouettes
  share: Array


def _traced(options: SceneOptions) -> SceneOptions:
  return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), options)


def _set_up(key: Array, options: SceneOptions) -> _SetUp:
  size, slots = options.size, options.objects[1]
  # All random numbers at once: every draw of its own would take long to compile.
  draws = jax.random.uniform(key, (TEXTURES + 7, NOISE_DRAWS), jnp.float32)
  drawn = _draw(draws[0, : 8 * slots].reshape(8, slots), options)
  stand_draws = draws[0, 8 * slots : 12 * slots].reshape(4, slots)
  night = (draws[1, 2] < options.night) | (drawn.darkened & drawn.exists).any()
  view = camera(draws[1, :2])
  noises = textures(draws[7:], view, size)
  empty = street(draws[2:7], noises, view, night)
  stand = things_lib.stand(stand_draws, view)
  shapes = things_lib.silhouettes(stand, size)
  share = over(jnp.clip(0.5 - shapes.distance * size, 0, 1) * drawn.exists[:, None, None])
  return _SetUp(view, noises, night, empty, drawn, stand, shapes, share)


def _label(pair: Pair, night: Array, inside: Array, per_object: dict, visibility: Array) -> Scene:
  """Judges what carries each object, and puts the objects that are present into the first slots."""
  present = inside.sum((1, 2)) >= _MIN_PIXELS
  in_visible = per_object["contrast_visible"] >= visibility
  in_infrared = per_object["contrast_infrared"] >= visibility
  order = jnp.argsort(~present, stable=True)
  per_object |= dict(
    hidden_in_visible=~in_visible, hidden_in_infrared=~in_infrared, present=present
  )
  per_object = {
    name: jnp.where(present, field, jnp.zeros_like(field))[order]
    for name, field in per_object.items()
  }

  def label(values):  # [K] -> int32 [S, S, 1]; no pixel is inside two objects
    values = jnp.where(present, values, 0)
    return (inside * values[:, None, None]).sum(0).astype(jnp.int32)[..., None]

  return Scene(
    pair=pair,
    objects=label(jnp.cumsum(present)),
    carrier=label(VISIBLE * in_visible + INFRARED * in_infrared),
    night=night,
    **per_object,
  )


def _mean(image: Array, weights: Array) -> Array:
  """Weighted means [K] of [S, S] under weights [K, S, S]."""
  return (image[None] * weights).sum((1, 2)) / jnp.maximum(weights.sum((1, 2)), 1e-9)


def _contrast(image: Array, image_empty: Array, inside: Array, around: Array) -> Array:
  """Contrast of each object, as far as the object is its cause, [K] in image units."""
  surroundings = _mean(image, around)[:, None, None]
  stands_out = ((image[None] - surroundings) ** 2 * inside).sum((1, 2))
  is_cause = ((image - image_empty)[None] ** 2 * inside).sum((1, 2))
  return jnp.sqrt(jnp.minimum(stands_out, is_cause) / jnp.maximum(inside.sum((1, 2)), 1e-9))


def _cover(
  things: things_lib.Things, hides: Array, size: int, rise: float, fall: float, ragged: Array
) -> Array:
  """1 around the things that are hidden, falling to 0 outside; [S, S].

  rise: how much farther up than down. fall: width of the border, in sizes of the thing; ragged
  moves it.
  """
  y, x = grid(size)
  half_width = 1.2 * things.half_width + _MARGIN
  half_height = 0.6 * things.height + _MARGIN
  dx = (x[None] - things.x[:, None, None]) / half_width[:, None, None]
  dy = (y[None] - (things.foot - things.height / 2)[:, None, None]) / half_height[:, None, None]
  dy = jnp.where(dy < 0, dy / rise, dy)
  reach = jnp.sqrt(jnp.sqrt(dx**4 + dy**4))
  return (smooth((1.1 + fall - reach + ragged[None]) / fall) * hides[:, None, None]).max(0)


def _visible(
  noises: Textures, empty: Street, drawn: _Drawn, stand, shapes, share
) -> tuple[Array, Array]:
  """The visible picture before noise, with the objects and without them, [S, S] each."""
  size = empty.albedo.shape[0]
  y, x = grid(size)
  albedo = drawn.brightness[:, None, None] * shapes.albedo * (1 + 0.2 * noises.cloth[None])

  dark = _cover(stand, drawn.darkened & drawn.exists, size, 1.0, 1.2, 0.1 * noises.edges)
  light, glow = empty.light * (1 - 0.93 * dark), empty.glow * (1 - dark)
  width, height = stand.half_width[:, None, None], stand.height[:, None, None]
  dx = (x[None] - stand.x[:, None, None]) / (1.15 * width)
  dy = (y[None] - stand.foot[:, None, None]) / (0.05 * height + 0.08 * width)
  shadow = smooth(1.5 - jnp.hypot(dx, dy)) * drawn.exists[:, None, None]
  shaded = light * (1 - 0.55 * shadow.max(0))

  smoke = 0.98 * _cover(
    stand, drawn.smoked & drawn.exists, size, 1.6, 0.7, 0.6 * noises.edges + 0.2
  )
  haze = light * (0.62 + 0.16 * noises.billows)

  def look(reflected, emitted):
    return jnp.clip((1 - smoke) * (reflected + emitted) + smoke * haze, 0, 1)

  # Shadows fall on the street behind every object; objects themselves are fully lit.
  picture = paint(empty.albedo * shaded, share, albedo * light[None])
  return look(picture, glow * (1 - share.sum(0))), look(empty.albedo * light, glow)


def _infrared(empty: Street, drawn: _Drawn, shapes, share, blur: Array) -> tuple[Array, Array]:
  """The infrared picture before noise, with the objects and without them, [S, S] each."""
  emissivity = drawn.emissivity[:, None, None]
  heat = drawn.temperature[:, None, None] * shapes.heat
  radiance = emissivity * heat + (1 - emissivity) * COLD_SKY
  radiance = jnp.where(drawn.crossed[:, None, None], empty.radiance[None], radiance)
  picture = paint(empty.radiance, share, radiance)
  size = picture.shape[0]
  offset = (np.arange(size)[:, None] - np.arange(size)[None, :]).astype(np.float32)
  kernel = jnp.exp(-0.5 * (offset / jnp.maximum(blur, 1e-3)) ** 2)
  kernel = kernel / kernel.sum(1, keepdims=True)
  both = jnp.stack([picture, empty.radiance])
  picture, plain = jnp.einsum("yi,nij,xj->nyx", kernel, both, kernel, precision="highest")
  return jnp.clip(picture, 0, 1), jnp.clip(plain, 0, 1)


def _sense(key: Array, visible: Array, infrared: Array, options: SceneOptions) -> Pair:
  """Adds what the sensors add."""
  visible_noise, infrared_noise = jax.random.normal(key, (2, *visible.shape), jnp.float32)
  deviation = jnp.sqrt(options.read_noise**2 + options.shot_noise**2 * visible)
  visible = visible + deviation * visible_noise
  # The pattern belongs to the sensor: the same columns in every scene.
  pattern = np.random.default_rng(0).standard_normal((1, options.size), np.float32)
  infrared = infrared + options.pattern_noise * pattern
  infrared = infrared + options.infrared_noise * infrared_noise
  return Pair(jnp.clip(visible, 0, 1)[..., None], jnp.clip(infrared, 0, 1)[..., None])
