"""People and poses as pytrees of numbers, drawn from keys; all of it is ours.

Pure functions of their keys with static shapes: jit them, vmap them over keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array

# Patterns of shirts: `Person.pattern` is an index.
PLAIN, ROWS, COLUMNS, CHECKS, LOGO = range(5)
SKIN = ((0.98, 0.80, 0.69), (0.36, 0.22, 0.14))  # lightest and darkest, RGB


@struct.dataclass
class Person:
  """All that stays of a person in any pose, with the room behind; scalars unless shaped.

  height: 1 is about 0.95 of the picture. girth, shoulder, hip, leg, head: factors on widths, and
    on the lengths of legs and head.
  skin, hair, shirt, trousers, shoes, wall, floor: RGB [3] in [0, 1]; second: of the pattern.
  long_hair, skirt: 0 or 1. pattern: int32, PLAIN to LOGO; frequency: of its stripes.
  sleeve, trouser: share of the limb that is covered, 0 to 1.
  horizon: height of the floor, a share of the picture. boxes: [3, 6], things on the wall: place,
    size, hue and saturation.
  """

  height: Array
  girth: Array
  shoulder: Array
  hip: Array
  leg: Array
  head: Array
  skin: Array
  hair: Array
  long_hair: Array
  shirt: Array
  second: Array
  pattern: Array
  frequency: Array
  sleeve: Array
  trousers: Array
  trouser: Array
  skirt: Array
  shoes: Array
  wall: Array
  floor: Array
  horizon: Array
  boxes: Array


@struct.dataclass
class Pose:
  """Sixteen angles in radians, and a place.

  yaw, pitch, roll: of the torso. arms: [2, 4], right and left: sideways, forward, bent, turned.
  legs: [2, 3]: sideways, forward, bent. head: yaw of the head against the torso.
  across: place of the hips from the middle, in units of `Person.height`.
  """

  yaw: Array
  pitch: Array
  roll: Array
  arms: Array
  legs: Array
  head: Array
  across: Array


# Least and greatest of what is drawn uniformly; colours are hue, saturation and value.
_COLOUR = ((0.0, 1.0), (0.25, 1.0), (0.25, 1.0))
_PERSON = {
  "height": ((0.86, 1.08),),
  "girth": ((0.8, 1.35),),
  "shoulder": ((0.85, 1.2),),
  "hip": ((0.85, 1.2),),
  "leg": ((0.92, 1.08),),
  "head": ((0.9, 1.15),),
  "tone": ((0.0, 1.0),),
  "hair": ((0.02, 0.13), (0.2, 0.8), (0.08, 0.8)),
  "long_hair": ((0.0, 1.0),),
  "shirt": _COLOUR,
  "second": _COLOUR,
  "pattern": ((PLAIN, LOGO + 1),),
  "frequency": ((9.0, 22.0),),
  "sleeve": ((0.0, 3.0),),
  "trousers": _COLOUR,
  "trouser": ((0.0, 3.0),),
  "skirt": ((0.0, 1.0),),
  "shoes": _COLOUR,
  "wall": _COLOUR,
  "floor": _COLOUR,
  "horizon": ((0.08, 0.28),),
  "boxes": ((0.0, 1.0),) * 18,
}
_ARM = ((0.0, 150.0), (-40.0, 90.0), (0.0, 130.0), (-90.0, 90.0))
_LEG = ((0.0, 35.0), (-25.0, 70.0), (0.0, 80.0))
_POSE = {  # in degrees, but for `across` and `back`
  "yaw": ((-60.0, 60.0),),
  "back": ((0.0, 1.0),),
  "pitch": ((-12.0, 25.0),),
  "roll": ((-15.0, 15.0),),
  "arms": _ARM * 2,
  "legs": _LEG * 2,
  "head": ((-35.0, 35.0),),
  "across": ((-0.12, 0.12),),
}
_SLEEVES, _TROUSERS = (0.0, 0.5, 1.0), (0.35, 0.5, 1.0)
_SKIRTS, _LONG_HAIR, _BACKS = 0.25, 0.4, 0.2  # shares of people and poses


def draw_person(key: Array) -> Person:
  """Draws a person from a key."""
  drawn = _draw(key, _PERSON)
  tone = drawn.pop("tone")
  choices = {"sleeve": _SLEEVES, "trouser": _TROUSERS}
  return Person(
    **drawn
    | {name: rgb(drawn[name]) for name in ("hair", "shirt", "second", "trousers", "shoes")}
    | {
      "skin": (1 - tone) * jnp.array(SKIN[0]) + tone * jnp.array(SKIN[1]),
      "long_hair": (drawn["long_hair"] < _LONG_HAIR).astype(jnp.float32),
      "skirt": (drawn["skirt"] < _SKIRTS).astype(jnp.float32),
      "pattern": drawn["pattern"].astype(jnp.int32),
      **{n: jnp.array(values)[drawn[n].astype(jnp.int32)] for n, values in choices.items()},
      "wall": rgb(drawn["wall"]) * 0.6 + 0.2,
      "floor": rgb(drawn["floor"]) * 0.6 + 0.1,
      "boxes": drawn["boxes"].reshape(3, 6),
    }
  )


def draw_pose(key: Array, spread: float | Array = 1.0) -> Pose:
  """Draws a pose from a key; spread: factor on the angles of limbs and torso."""
  drawn = _draw(key, _POSE)
  across, back = drawn.pop("across"), drawn.pop("back") < _BACKS
  angles = {name: degrees * jnp.pi / 180 for name, degrees in drawn.items()}
  return Pose(
    yaw=angles["yaw"] + jnp.pi * back,
    pitch=spread * angles["pitch"],
    roll=spread * angles["roll"],
    arms=spread * angles["arms"].reshape(2, len(_ARM)),
    legs=spread * angles["legs"].reshape(2, len(_LEG)),
    head=angles["head"],
    across=across,
  )


def _draw(key: Array, limits: dict[str, tuple]) -> dict[str, Array]:
  """Uniform numbers by name: a scalar where there is one pair of limits, else [n].

  All are parts of one draw, which compiles in a tenth of the time that a draw for each takes.
  """
  low, high = np.array([pair for pairs in limits.values() for pair in pairs], np.float32).T
  numbers = jax.random.uniform(key, low.shape, minval=low, maxval=high)
  drawn, start = {}, 0
  for name, pairs in limits.items():
    part = numbers[start : start + len(pairs)]
    drawn[name] = part if len(pairs) > 1 else part[0]
    start += len(pairs)
  return drawn


def rgb(hsv: Array) -> Array:
  """RGB [..., 3] of hue, saturation and value [..., 3], all in [0, 1]."""
  hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]

  def channel(n: int) -> Array:
    k = (n + hue * 6) % 6
    return value - value * saturation * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

  return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)
