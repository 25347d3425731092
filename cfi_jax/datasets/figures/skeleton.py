"""The skeleton of a person in a pose, and the capsules that make the body; all of it is ours.

World: x to the right of the picture, y up from the floor, z towards the viewer, in units of the
picture's side but for `SCALE`. The picture is an orthographic view along z.
"""

import jax.numpy as jnp
import numpy as np
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.people import Person, Pose

# The order of OpenPose's COCO model.
JOINTS = (
  *("nose", "neck", "right shoulder", "right elbow", "right wrist"),
  *("left shoulder", "left elbow", "left wrist", "right hip", "right knee", "right ankle"),
  *("left hip", "left knee", "left ankle", "right eye", "left eye", "right ear", "left ear"),
)
# Values of part maps; 0 is the background. Garments are unions of them.
PARTS = (
  *("background", "head", "torso", "hips", "right upper arm", "left upper arm"),
  *("right forearm", "left forearm", "right thigh", "left thigh", "right shin", "left shin"),
  *("right foot", "left foot"),
)
# Materials, which decide on the colour of a capsule.
SKIN, SHIRT, TROUSERS, SHOES, HEAD, HAIR, SKIRT, SLEEVE = range(8)

SCALE, FLOOR = 0.92, 0.04  # picture sides per unit of the world; share of the picture below y = 0
SIDES = ("right", "left")


@struct.dataclass
class Skeleton:
  """Joints of a person in a pose, in the world.

  joints: [18, 3] in the order of `JOINTS`. hands, toes: [2, 3], right and left.
  head: [3], its centre; radius: of the head. torso, face: rotations [3, 3] of torso and head.
  """

  joints: Array
  hands: Array
  toes: Array
  head: Array
  radius: Array
  torso: Array
  face: Array

  def __getitem__(self, name: str) -> Array:
    """The joint of that name, [3]."""
    return self.joints[JOINTS.index(name)]


@struct.dataclass
class Capsules:
  """Body parts [n]: segments in the world with a radius at each end, materials and parts.

  start, end: [n, 3]. start_radius, end_radius: [n]. material: int32 [n], SKIN to SLEEVE.
  part: int32 [n], indices into `PARTS`.
  """

  start: Array
  end: Array
  start_radius: Array
  end_radius: Array
  material: Array
  part: Array


def stand(person: Person, pose: Pose) -> Skeleton:
  """The skeleton of a person in a pose, whose lower ankle is just above the floor."""
  h = person.height
  upright = _turn(1, pose.yaw)
  torso = upright @ _turn(2, pose.roll) @ _turn(0, pose.pitch)
  neck = torso @ _vector(0, 0.29 * h, 0)
  at = {"neck": neck}
  hands, toes = [], []
  for i, side in enumerate(SIDES):
    sign = 2 * i - 1
    sideways, forward, bent, turned = pose.arms[i]
    upper = torso @ _turn(0, -forward) @ _turn(2, sign * sideways)
    lower = upper @ _turn(1, sign * turned) @ _turn(0, -bent)
    shoulder = neck + torso @ _vector(sign * 0.105 * h * person.shoulder, -0.015 * h, 0)
    elbow = shoulder + upper @ _vector(0, -0.155 * h, 0)
    wrist = elbow + lower @ _vector(0, -0.14 * h, 0)
    hands.append(wrist + lower @ _vector(0, -0.035 * h, 0))
    sideways, forward, bent = pose.legs[i]
    thigh = upright @ _turn(0, -forward) @ _turn(2, sign * sideways)
    shin = thigh @ _turn(0, bent)
    hip = upright @ _vector(sign * 0.062 * h * person.hip, 0, 0)
    knee = hip + thigh @ _vector(0, -0.245 * h * person.leg, 0)
    ankle = knee + shin @ _vector(0, -0.235 * h * person.leg, 0)
    toes.append(ankle + shin @ _vector(0, -0.02 * h, 0.075 * h))
    made = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist}
    made |= {"hip": hip, "knee": knee, "ankle": ankle}
    at |= {f"{side} {name}": place for name, place in made.items()}
  face, r = torso @ _turn(1, pose.head), 0.062 * h * person.head
  head = neck + torso @ _vector(0, 0.045 * h, 0) + face @ _vector(0, 1.05 * r, 0.01 * h)
  at["nose"] = head + face @ _vector(0, -0.1 * r, r)
  for i, side in enumerate(SIDES):
    sign = 2 * i - 1
    at[f"{side} eye"] = head + face @ _vector(sign * 0.38 * r, 0.22 * r, 0.9 * r)
    at[f"{side} ear"] = head + face @ _vector(sign * r, 0.05 * r, 0)
  low = jnp.minimum(at["right ankle"][1], at["left ankle"][1]) - 0.03 * h
  move = jnp.stack([pose.across, -low, jnp.zeros(())])
  joints = jnp.stack([at[name] for name in JOINTS]) + move[None]
  hands, toes = jnp.stack(hands) + move[None], jnp.stack(toes) + move[None]
  return Skeleton(joints, hands, toes, head + move, r, torso, face)


def capsules(person: Person, skeleton: Skeleton) -> Capsules:
  """The capsules of a person; those of long hair and skirts have no radius where there are none."""
  h, g, r, s = person.height, person.girth, skeleton.radius, skeleton
  t = 0.052 * h * g  # of the torso
  neck, middle = s["neck"], (s["right hip"] + s["left hip"]) / 2
  knees = (s["right knee"] + s["left knee"]) / 2
  long, skirt = person.long_hair, person.skirt
  back = s.head + s.face @ _vector(0, 0, -0.5 * r)
  nape = neck + s.torso @ _vector(0, -0.06 * h, -0.05 * h)
  chest = neck + s.torso @ _vector(0, -0.03 * h, 0)
  right, left = s["right shoulder"], s["left shoulder"]
  hem = 0.15 * middle + 0.85 * knees
  made = [  # start, end, radius at each, material, part
    (s.head, s.head + 1e-4, r, r, HEAD, "head"),
    (back, nape, 0.8 * r * long, 0.55 * r * long, HAIR, "head"),
    (neck, s.head, 0.028 * h, 0.028 * h, SKIN, "head"),
    (chest, middle, 1.05 * t, 1.15 * t, SHIRT, "torso"),
    (right, left, 0.62 * t, 0.62 * t, SHIRT, "torso"),
    (s["right hip"], s["left hip"], 1.02 * t, 1.02 * t, TROUSERS, "hips"),
    (middle, hem, 0.06 * h * g * skirt, 0.115 * h * skirt, SKIRT, "hips"),
  ]
  for i, side in enumerate(SIDES):
    shoulder, elbow, wrist = (s[f"{side} {n}"] for n in ("shoulder", "elbow", "wrist"))
    hip, knee, ankle = (s[f"{side} {n}"] for n in ("hip", "knee", "ankle"))
    flank = 0.86 * shoulder + 0.14 * neck
    made += [
      (flank, hip, 0.95 * t, 1.05 * t, SHIRT, "torso"),
      (shoulder, elbow, 0.034 * h * g, 0.028 * h * g, SLEEVE, f"{side} upper arm"),
      (elbow, wrist, 0.027 * h * g, 0.021 * h * g, SLEEVE, f"{side} forearm"),
      (wrist, s.hands[i], 0.022 * h, 0.024 * h, SKIN, f"{side} forearm"),
      (hip, knee, 0.052 * h * g, 0.038 * h * g, TROUSERS, f"{side} thigh"),
      (knee, ankle, 0.036 * h * g, 0.024 * h * g, TROUSERS, f"{side} shin"),
      (ankle, s.toes[i], 0.026 * h, 0.02 * h, SHOES, f"{side} foot"),
    ]
  *arrays, materials, parts = zip(*made, strict=True)
  return Capsules(
    *(jnp.stack([jnp.asarray(x, jnp.float32) for x in column]) for column in arrays),
    np.array(materials, np.int32),
    np.array([PARTS.index(part) for part in parts], np.int32),
  )


def to_picture(points: Array) -> Array:
  """Places in the picture, [..., 2] in [0, 1] from the upper left, of world points [..., 3]."""
  across, up = points[..., 0], points[..., 1]
  return jnp.stack([across * SCALE + 0.5, 1 - FLOOR - up * SCALE], axis=-1)


def to_world(places: Array) -> Array:
  """World x and y, [..., 2], of places in the picture; the inverse of `to_picture` but for z."""
  x, y = places[..., 0], places[..., 1]
  return jnp.stack([(x - 0.5) / SCALE, (1 - FLOOR - y) / SCALE], axis=-1)


def _vector(x: Array | float, y: Array | float, z: Array | float) -> Array:
  return jnp.stack([jnp.asarray(v, jnp.float32) for v in (x, y, z)])


def _turn(axis: int, angle: Array) -> Array:
  """The rotation [3, 3] about an axis, 0 to 2, by Rodrigues' formula."""
  cross = _CROSS[axis]
  return np.eye(3, dtype=np.float32) + jnp.sin(angle) * cross + (1 - jnp.cos(angle)) * cross @ cross


# cross[i] @ v is the product e_i x v.
_CROSS = np.cross(np.eye(3)[:, None], np.eye(3)[None]).transpose(0, 2, 1).astype(np.float32)
