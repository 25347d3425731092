"""Pictures of people with exact keypoints, part maps and occlusion; all of it is ours.

Pure functions with static shapes: jit them, vmap them over people and poses.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures import people, skeleton
from cfi_jax.datasets.figures.people import Person, Pose
from cfi_jax.datasets.figures.skeleton import JOINTS, PARTS, Capsules, Skeleton

SAMPLES = 2  # per pixel and axis
NOWHERE = -9.0  # depth of what is behind everything
HIDDEN, VISIBLE = 1, 2  # flags of keypoints, as COCO's; 0 is outside the picture


@struct.dataclass
class Figure:
  """A picture of one person with the truth about it.

  image: RGB [S, S, 3] in [0, 1]. parts: int32 [S, S], the part seen at the pixel's first sample, an
  index into `PARTS`, 0 the background. keypoints: [18, 3], x and y in pixels from the upper left
  corner (the first pixel's centre is at 0.5) and a flag: 0 outside the picture, HIDDEN behind
  another part, VISIBLE.
  """

  image: Array
  parts: Array
  keypoints: Array


@struct.dataclass
class _Surface:
  """A surface at samples: depth, place along its capsule, normal's x and y, indices."""

  depth: Array
  along: Array
  across: Array
  up: Array
  material: Array
  part: Array


def render(person: Person, pose: Pose, size: int) -> Figure:
  """The picture of a person in a pose, of `size` x `size` pixels."""
  stood = skeleton.stand(person, pose)
  bodies = skeleton.capsules(person, stood)
  places = grid(size * SAMPLES)
  world = skeleton.to_world(places)
  surface = _nearest(bodies, world[..., 0], world[..., 1])
  hit = surface.depth > NOWHERE
  colours = jnp.where(hit[..., None], _body(person, stood, surface, places), room(person, places))
  image = colours.reshape(size, SAMPLES, size, SAMPLES, 3).mean((1, 3))
  parts = jnp.where(hit, surface.part, 0)[::SAMPLES, ::SAMPLES]
  return Figure(jnp.clip(image, 0, 1), parts, _keypoints(stood, bodies, size))


def _keypoints(stood: Skeleton, bodies: Capsules, size: int) -> Array:
  """Joints in pixels with their flags, [18, 3].

  A joint is hidden where a surface at its place is farther in front of it than its own limb can be:
  than 1.6 of that limb's largest radius, or for the face than half the head's.
  """
  places = skeleton.to_picture(stood.joints)
  inside = ((places > 0) & (places < 1)).all(-1)
  own = np.array([bodies.part == PARTS.index(_limb(name)) for name in JOINTS])
  reach = 1.6 * (own * bodies.start_radius[None]).max(-1)
  reach = jnp.where(np.array([_limb(name) == "head" for name in JOINTS]), stood.radius / 2, reach)
  depths = jax.vmap(lambda body: _meet(body, stood.joints[:, 0], stood.joints[:, 1]).depth)(bodies)
  hidden = depths.max(0) > stood.joints[:, 2] + reach
  flags = jnp.where(hidden, HIDDEN, VISIBLE) * inside
  return jnp.concatenate([places * size, flags[:, None].astype(jnp.float32)], axis=-1)


def _limb(joint: str) -> str:
  """The part that a joint lies in."""
  side, *name = joint.split()
  if joint == "nose" or name in (["eye"], ["ear"]):
    return "head"
  if joint == "neck" or name == ["shoulder"]:
    return "torso"
  if name == ["hip"]:
    return "hips"
  return f"{side} {'forearm' if name[0] in ('elbow', 'wrist') else 'shin'}"


def _meet(body: Capsules, x: Array, y: Array) -> _Surface:
  """The surface of one capsule at world x and y, of any shape; NOWHERE beside it."""
  way = body.end - body.start
  from_x, from_y = x - body.start[0], y - body.start[1]
  length = way[0] * way[0] + way[1] * way[1] + 1e-9
  t = jnp.clip((from_x * way[0] + from_y * way[1]) / length, 0, 1)
  dx, dy = from_x - t * way[0], from_y - t * way[1]
  radius = body.start_radius + (body.end_radius - body.start_radius) * t
  rest = radius * radius - dx * dx - dy * dy
  depth = body.start[2] + way[2] * t + jnp.sqrt(jnp.maximum(rest, 0))
  depth = jnp.where(rest > 0, depth, NOWHERE)
  scale = 1 / (radius + 1e-6)
  material, part = (jnp.full(x.shape, i, jnp.int32) for i in (body.material, body.part))
  return _Surface(depth, t, dx * scale, dy * scale, material, part)


def _nearest(bodies: Capsules, x: Array, y: Array) -> _Surface:
  """The surface nearest to the viewer at world x and y, by a running maximum over the capsules."""

  def nearer(best: _Surface, body: Capsules) -> tuple[_Surface, None]:
    found = _meet(body, x, y)
    wins = found.depth > best.depth
    return jax.tree.map(lambda new, old: jnp.where(wins, new, old), found, best), None

  zeros, none = jnp.zeros_like(x), jnp.zeros(x.shape, jnp.int32)
  start = _Surface(jnp.full_like(x, NOWHERE), zeros, zeros, zeros, none, none)
  return jax.lax.scan(nearer, start, bodies)[0]


def _body(person: Person, stood: Skeleton, surface: _Surface, places: Array) -> Array:
  """Colours [n, n, 3] of the person's surface, lit from the upper left."""
  world = skeleton.to_world(places)
  points = jnp.concatenate([world, surface.depth[..., None]], axis=-1)
  lower = _is_part(surface.part, "forearm") | _is_part(surface.part, "shin")
  share = 0.5 * surface.along + 0.5 * lower  # of an arm or leg, from its upper end
  skin = _paint(person.skin)
  shirt = _shirt(person, stood, surface, points, share)
  leg = surface.part != PARTS.index("hips")
  covered = ~leg | (share < person.trouser)
  colours = {
    skeleton.SKIN: skin,
    skeleton.SHIRT: shirt,
    skeleton.TROUSERS: jnp.where(covered[..., None], _paint(person.trousers), skin),
    skeleton.SHOES: _paint(person.shoes),
    skeleton.HEAD: _head(person, stood, points),
    skeleton.HAIR: _paint(person.hair),
    skeleton.SKIRT: _paint(person.trousers),
    skeleton.SLEEVE: jnp.where((share < person.sleeve)[..., None], shirt, skin),
  }
  total = sum(jnp.where((surface.material == m)[..., None], c, 0) for m, c in colours.items())
  across, up = surface.across, surface.up
  ahead = jnp.sqrt(jnp.maximum(1 - across * across - up * up, 0))
  light = jnp.clip(-0.35 * across + 0.45 * up + 0.82 * ahead, 0, 1)
  return total * (0.55 + 0.45 * light)[..., None]


def _is_part(part: Array, name: str) -> Array:
  right, left = (PARTS.index(f"{side} {name}") for side in skeleton.SIDES)
  return (part == right) | (part == left)


def _shirt(
  person: Person, stood: Skeleton, surface: _Surface, points: Array, share: Array
) -> Array:
  """The shirt's two colours, in the torso's coordinates and along the sleeves."""
  own = jnp.matmul(
    points - stood["neck"][None, None], stood.torso, precision=jax.lax.Precision.HIGHEST
  )
  sleeve = surface.material == skeleton.SLEEVE
  across = jnp.where(sleeve, 0.05 * surface.across, own[..., 0])
  down = jnp.where(sleeve, 0.3 * share, own[..., 1])
  waves = 2 * jnp.pi * person.frequency
  logo = (jnp.hypot(across, down + 0.11) < 0.045) & (own[..., 2] > 0) & ~sleeve
  patterns = {
    people.PLAIN: jnp.zeros(across.shape, bool),
    people.ROWS: jnp.sin(0.5 * waves * down) > 0,
    people.COLUMNS: jnp.sin(0.6 * waves * across) > 0,
    people.CHECKS: (jnp.sin(0.5 * waves * across) > 0) ^ (jnp.sin(0.5 * waves * down) > 0),
    people.LOGO: logo,
  }
  drawn = sum(((person.pattern == i) & there for i, there in patterns.items()), start=False)
  return jnp.where(drawn[..., None], _paint(person.second), _paint(person.shirt))


def _head(person: Person, stood: Skeleton, points: Array) -> Array:
  """Hair above and behind, skin, and dark eyes and mouth."""
  own = jnp.matmul(points - stood.head[None, None], stood.face, precision=jax.lax.Precision.HIGHEST)
  x, y, z = (own[..., i] / stood.radius for i in range(3))
  eyes = jnp.hypot(jnp.abs(x) - 0.38, y - 0.22) < 0.17
  mouth = jnp.hypot(x, 2.2 * (y + 0.45)) < 0.3
  skin = _paint(person.skin)
  face = jnp.where(((eyes | mouth) & (z > 0.2))[..., None], 0.3 * skin, skin)
  return jnp.where(((y > 0.42) | (z < -0.05))[..., None], _paint(person.hair), face)


def room(person: Person, places: Array) -> Array:
  """The wall with three boxes on it, and the floor, [n, n, 3], at places [n, n, 2] in [0, 1]."""
  x, y = places[..., 0], places[..., 1]
  colours = _paint(person.wall) * (1 - 0.5 * y[..., None])
  for box in person.boxes:
    wide, high = 0.04 + 0.12 * box[2], 0.04 + 0.12 * box[3]
    inside = (jnp.abs(x - box[0]) < wide) & (jnp.abs(y - 0.8 * box[1]) < high)
    colour = people.rgb(jnp.stack([box[4], 0.5 * box[5] + 0.1, 0.3 + 0.6 * box[2]]))
    colours = jnp.where(inside[..., None], _paint(colour), colours)
  floor = _paint(person.floor) * (1 - 0.6 * (1 - y[..., None]))
  return jnp.where((y > 1 - person.horizon)[..., None], floor, colours)


def _paint(colour: Array) -> Array:
  """A colour [3] for all samples, [1, 1, 3]."""
  return colour[None, None]


def grid(count: int) -> Array:
  """Places of samples in the picture, [count, count, 2]."""
  centres = (jnp.arange(count) + 0.5) / count
  return jnp.stack(jnp.meshgrid(centres, centres), axis=-1)
