"""The skeleton warp: moves a person limb by limb onto another pose, without parameters; ours.

Functions take one example; keypoints are in pixels, lengths below in shares of the picture's side.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.images import ops

GROWN = 1.45  # factor on the widths of limbs, for what may change
LIMBS = 14
# Half widths: both flanks, spine, hips, shoulders, head; then right and left: upper arm, forearm,
# thigh, shin.
_WIDTHS = (0.045, 0.045, 0.05, 0.05, 0.035, 0.05) + 2 * (0.03, 0.026, 0.045, 0.033)
_SHARPNESS = 3.0  # of the choice among limbs, by squared distance in half widths
_OVERSHOOT = 0.15  # how far beyond its ends a limb is read, in its lengths
_FAR = 1e3  # distance of a limb that is not there
NEVER = -1e4  # logit of what is not, whatever is added to it
_LEAST = -6.24  # logits below, of 1 / 512, are NEVER, so that far pixels keep their value exactly


@struct.dataclass
class Limbs:
  """Fourteen limbs: start and end [14, 2], and whether both are known, [14]."""

  start: Array
  end: Array
  known: Array


@struct.dataclass
class Warped:
  """The target picture taken apart and moved, one example or a batch of them.

  target: [S, S, 3]. filled: [S, S, 3], the target's room where the person was, and blurred beyond.
  colours: [14, S, S, 3], what the target shows where a limb reads it. order: [14, S, S], which limb
  a pixel shows, as logits. here, gone: [S, S, 1], whether the moved person covers a pixel, and the
  person before, grown, as logits. region: [S, S, 1], what may change at all; 0 elsewhere.
  """

  target: Array
  filled: Array
  colours: Array
  order: Array
  here: Array
  gone: Array
  region: Array

  @property
  def person(self) -> Array:
    """The person's colours on the source's limbs, [..., S, S, 3]."""
    return (jax.nn.softmax(self.order, axis=-3)[..., None] * self.colours).sum(-4)

  @property
  def cover(self) -> Array:
    """The share to which the moved person covers a pixel, [..., S, S, 1]."""
    return jax.nn.sigmoid(self.here)

  @property
  def old(self) -> Array:
    """The share to which the person before, grown, covers a pixel, [..., S, S, 1]."""
    return jax.nn.sigmoid(self.gone)

  @property
  def background(self) -> Array:
    """The target without the person, [..., S, S, 3]."""
    return self.old * self.filled + (1 - self.old) * self.target

  @property
  def base(self) -> Array:
    """The moved person before the background, [..., S, S, 3]."""
    return self.cover * self.person + (1 - self.cover) * self.background


def limbs(keypoints: Array, side: int) -> Limbs:
  """The limbs of keypoints [18, 3] in pixels of a picture; a missing joint drops its limbs."""
  place = dict(zip(JOINTS, keypoints[:, :2] / side, strict=True))
  there = dict(zip(JOINTS, keypoints[:, 2] > 0, strict=True))

  def beyond(first: str, second: str, share: float) -> Array:
    return place[second] + share * (place[second] - place[first])

  neck, ears = place["neck"], ("right ear", "left ear")
  seen = jnp.stack([there[name] for name in ears])
  both = jnp.stack([place[name] for name in ears])
  ear = (both * seen[:, None]).sum(0) / jnp.maximum(seen.sum(), 1)
  middle = (place["right hip"] + place["left hip"]) / 2
  hips, shoulders = ("right hip", "left hip"), ("right shoulder", "left shoulder")
  right, left = (0.86 * place[name] + 0.14 * neck for name in shoulders)
  made = [
    (right, place["right hip"], ("right shoulder", "right hip", "neck")),
    (left, place["left hip"], ("left shoulder", "left hip", "neck")),
    (neck, middle, ("neck", *hips)),
    (place["right hip"], place["left hip"], hips),
    (place["right shoulder"], place["left shoulder"], shoulders),
    (neck, neck + 1.75 * (ear - neck), ("neck",)),
  ]
  for one in ("right", "left"):
    shoulder, elbow, wrist, hip, knee, ankle = (
      f"{one} {name}" for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    )
    made += [
      (place[shoulder], place[elbow], (shoulder, elbow)),
      (place[elbow], beyond(elbow, wrist, 0.3), (elbow, wrist)),
      (place[hip], place[knee], (hip, knee)),
      (place[knee], beyond(knee, ankle, 0.18), (knee, ankle)),
    ]
  start, end, names = zip(*made, strict=True)
  known = [jnp.stack([there[name] for name in own]).all() for own in names]
  known[5] &= seen.any()
  return Limbs(jnp.stack(start), jnp.stack(end), jnp.stack(known))


def covering(distances: Array, grown: float = 1.0) -> Array:
  """Whether limbs cover a pixel, logits [S, S, 1], by distances [14, S, S] in half widths."""
  return 6 * (1.05 - distances.min(0) / grown)[..., None]


def warp(target: Array, target_keypoints: Array, source_keypoints: Array) -> Warped:
  """Moves the person of `target` [S, S, 3] onto the source's limbs; gradients do not pass."""
  target, target_keypoints, source_keypoints = jax.lax.stop_gradient(
    (target, target_keypoints, source_keypoints)
  )
  side = target.shape[0]
  old, new = limbs(target_keypoints, side), limbs(source_keypoints, side)
  known = old.known & new.known
  along, beside, distances = _near(new, side)
  distances = jnp.where(known[:, None, None], distances, _FAR)
  _, _, old_distances = _near(old, side)
  old_distances = jnp.where(old.known[:, None, None], old_distances, _FAR)

  way, normal = _directions(old)
  along = jnp.clip(along, -_OVERSHOOT, 1 + _OVERSHOOT)[..., None]
  places = old.start[:, None, None] + along * way[:, None, None]
  places += beside[..., None] * normal[:, None, None]
  colours = jax.vmap(lambda place: _bilinear(target, place))(places)

  gone, near = covering(old_distances, GROWN), covering(distances, GROWN)
  gone = jnp.where(gone > _LEAST, gone, NEVER)
  here = jnp.where(near > _LEAST, covering(distances), NEVER)
  region = jax.nn.sigmoid(jnp.maximum(gone, jnp.where(near > _LEAST, near, NEVER)))
  filled = _fill(target, jax.nn.sigmoid(gone))
  order = -_SHARPNESS * jnp.square(distances)
  return Warped(target, filled, colours, order, here, gone, region)


def _near(limbs: Limbs, side: int) -> tuple[Array, Array, Array]:
  """Place along, offset beside, and distance in half widths of every pixel and limb, [14, S, S]."""
  centres = (jnp.arange(side) + 0.5) / side
  pixels = jnp.stack(jnp.meshgrid(centres, centres), axis=-1)
  way, normal = _directions(limbs)
  offset = pixels[None] - limbs.start[:, None, None]
  square = jnp.maximum(jnp.square(way).sum(-1), 1e-6)[:, None, None]
  along = (offset * way[:, None, None]).sum(-1) / square
  beside = (offset * normal[:, None, None]).sum(-1)
  over = (along - jnp.clip(along, 0, 1)) * jnp.sqrt(square)
  widths = jnp.array(_WIDTHS).reshape(-1, 1, 1)
  return along, beside, jnp.sqrt(jnp.square(over) + jnp.square(beside) + 1e-9) / widths


def _directions(limbs: Limbs) -> tuple[Array, Array]:
  """The way from start to end, and a unit normal, [14, 2] each."""
  way = limbs.end - limbs.start
  length = jnp.sqrt(jnp.maximum(jnp.square(way).sum(-1), 1e-6))
  return way, jnp.stack([-way[:, 1], way[:, 0]], axis=-1) / length[:, None]


def _bilinear(image: Array, places: Array) -> Array:
  """Colours [n, m, 3] of an image [S, S, 3] at places [n, m, 2] in [0, 1], its edge repeated."""
  side = image.shape[0]
  at = jnp.clip(places * side - 0.5, 0, side - 1)
  low = jnp.minimum(jnp.floor(at).astype(jnp.int32), side - 2)
  x, y = low[..., 0], low[..., 1]
  right, below = (at - low)[..., :1], (at - low)[..., 1:]
  upper = image[y, x] * (1 - right) + image[y, x + 1] * right
  lower = image[y + 1, x] * (1 - right) + image[y + 1, x + 1] * right
  return upper * (1 - below) + lower * below


def _fill(image: Array, gone: Array) -> Array:
  """A blur of what is left of the image where it is not `gone`, [S, S, 1] from 0 to 1."""
  deviation = image.shape[0] / 16
  reach = int(2.5 * deviation)
  taps = np.exp(-np.square(np.arange(-reach, reach + 1) / deviation) / 2)
  taps = tuple(float(tap) for tap in taps / taps.sum())
  kept, share = (ops.blur(x, taps, border="constant") for x in (image * (1 - gone), 1 - gone))
  return kept / jnp.maximum(share, 1e-3)
