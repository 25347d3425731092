"""The shape of a character, and its mesh in a pose by linear blend skinning."""

import dataclasses

import numpy as np

from cfi_jax.datasets.characters.mesh import (
  ADULTS,
  BONE,
  MUSCLES,
  ORIGINS,
  SEXES,
  WEIGHTS,
  Mesh,
)
from cfi_jax.datasets.figures.skeleton import JOINTS

# Bones whose head is a joint.
_BONES = {"neck": "Neck"} | {
  f"{side} {joint}": f"{side.title()}{bone}"
  for side in ("right", "left")
  for joint, bone in (
    *(("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand")),
    *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot")),
  )
}
_OLD = 0.2  # share of characters


@dataclasses.dataclass(frozen=True)
class Shape:
  """A body at rest: vertices [V, 3], whether it is female, and shares of three origins, [3]."""

  vertices: np.ndarray
  female: bool
  origins: np.ndarray


@dataclasses.dataclass(frozen=True)
class Directions:
  """A pose as directions: joints of a skeleton in the world by name, [3] each, and rotations.

  torso, face: [3, 3], of the torso and the head, as `figures.skeleton.Skeleton` has them.
  """

  joints: dict[str, np.ndarray]
  torso: np.ndarray
  face: np.ndarray


def draw_shape(mesh: Mesh, random: np.random.Generator) -> Shape:
  """Draws the body of an adult."""
  female, old = bool(random.integers(2)), bool(random.random() < _OLD)
  sex, age = SEXES[not female], ADULTS[old]
  origins = random.dirichlet([0.6] * len(ORIGINS))
  muscle, weight = random.choice(MUSCLES), random.choice(WEIGHTS, p=[0.3, 0.5, 0.2])
  vertices = mesh.vertices + mesh.target(f"universal-{sex}-{age}-{muscle}-{weight}")
  for share, origin in zip(origins, ORIGINS, strict=True):
    vertices = vertices + share * mesh.target(f"{origin}-{sex}-{age}")
  return Shape(vertices, female, origins)


def pose(
  mesh: Mesh, vertices: np.ndarray, wanted: Directions
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """The skinned vertices [V, 3] of a body in a pose, and its joints [3] by name.

  Limbs get the directions of the skeleton's and keep the body's own lengths.
  """
  ends = mesh.ends(vertices)
  turned = _rotations(ends, wanted)
  placed: dict[str, tuple[np.ndarray, np.ndarray]] = {}

  def place(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rotation of a bone and the place of its head."""
    if name not in placed:
      parent, head = mesh.bones[name]["parent"], ends[name, "head"]
      if parent:
        rotation, start = place(parent)
        head, own = rotation @ (head - ends[parent, "head"]) + start, rotation
      else:
        own = np.eye(3)
      placed[name] = (turned.get(name.removeprefix(BONE), own), head)
    return placed[name]

  moved = np.zeros_like(vertices)
  for k, name in enumerate(mesh.names):
    rotation, head = place(name)
    weight = mesh.weights[:, k]
    chosen = weight > 0
    own = (vertices[chosen] - ends[name, "head"]) @ rotation.T + head
    moved[chosen] += weight[chosen, None] * own
  joints = {joint: placed[BONE + bone][1] for joint, bone in _BONES.items()}
  joints |= {name: moved[chosen].mean(0) for name, chosen in _face(mesh).items()}
  return moved, {name: joints[name] for name in JOINTS}


def _face(mesh: Mesh) -> dict[str, np.ndarray]:
  """Vertices whose mean is a joint of the face; nose and ears are extreme points at rest."""
  body = mesh.sets["body"]
  at_rest = mesh.vertices[body]
  head = body[at_rest[:, 1] > at_rest[:, 1].max() - 2.2]  # from the chin up
  x, _, z = mesh.vertices[head].T
  found = {
    "nose": head[[z.argmax()]],
    "left ear": head[[x.argmax()]],
    "right ear": head[[x.argmin()]],
  }
  return found | {f"{side} eye": mesh.sets[f"helper-{side[0]}-eye"] for side in ("right", "left")}


def _rotations(
  ends: dict[tuple[str, str], np.ndarray], wanted: Directions
) -> dict[str, np.ndarray]:
  """Rotations [3, 3] in the world of the bones that a pose turns, by their short names."""
  across = wanted.joints["left hip"] - wanted.joints["right hip"]
  across, up = across / np.linalg.norm(across), np.array([0.0, 1.0, 0.0])
  hips = np.stack([across, up, np.cross(across, up)], 1)
  torso = ("Spine", "Spine1", "Spine2", "LeftShoulder", "RightShoulder", "Neck")
  turned = {"Hips": hips, "Head": wanted.face} | dict.fromkeys(torso, wanted.torso)

  def along(bone: str, base: np.ndarray, first: str, second: str) -> np.ndarray:
    rest = base @ (ends[BONE + bone, "tail"] - ends[BONE + bone, "head"])
    return _swing(rest, wanted.joints[second] - wanted.joints[first]) @ base

  for side in ("right", "left"):
    name = side.title()
    shoulder, elbow, wrist, hip, knee, ankle = (
      f"{side} {joint}" for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    )
    turned[f"{name}Arm"] = along(f"{name}Arm", wanted.torso, shoulder, elbow)
    turned[f"{name}ForeArm"] = along(f"{name}ForeArm", wanted.torso, elbow, wrist)
    turned[f"{name}UpLeg"] = along(f"{name}UpLeg", hips, hip, knee)
    turned[f"{name}Leg"] = along(f"{name}Leg", hips, knee, ankle)
  return turned


def _swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
  """The shortest rotation [3, 3] that turns one direction into another (Rodrigues)."""
  start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
  x, y, z = np.cross(start, end)
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + cross + cross @ cross / (1 + start @ end + 1e-6)
