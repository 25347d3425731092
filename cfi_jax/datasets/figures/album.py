"""Rendered people in poses, all combinations of both, kept in memory."""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core import keys
from cfi_jax.core.progress import track
from cfi_jax.core.types import Array
from cfi_jax.datasets.figures import people
from cfi_jax.datasets.figures.render import Figure, render

_CHUNK = 32  # pictures per program; always the same, so that a picture never depends on its company


@dataclasses.dataclass(frozen=True)
class Crowd:
  """People and poses whose numbers are drawn by name, and so never overlap with another crowd's.

  people, poses: what is folded into the seed's key. person_count: number of people; pose_count: of
  the poses that each is seen in. groups: person i is of group i modulo `groups`, and a group has
  poses of its own. spread: see `draw_pose`.
  paired: person i is seen in every pose of its group, or (False) in pose i alone.
  """

  seed: int
  people: str
  person_count: int
  poses: str
  pose_count: int
  groups: int = 1
  spread: float = 1.0
  paired: bool = True

  def __len__(self) -> int:
    return self.person_count * (self.pose_count if self.paired else 1)

  def index(self, person: int, pose: int) -> int:
    """The place of a person in a pose among the crowd's pictures."""
    return person * self.pose_count + pose if self.paired else person

  def members(self) -> np.ndarray:
    """Person and pose of every picture, [N, 2]."""
    person = pose = np.arange(len(self))
    if self.paired:
      person, own = np.divmod(person, self.pose_count)
      pose = person % self.groups * self.pose_count + own
    return np.stack([person, pose], axis=-1).astype(np.uint32)


@dataclasses.dataclass(frozen=True)
class Album:
  """Pictures of a crowd: images uint8 [N, S, S, 3], parts uint8 [N, S, S], keypoints [N, 18, 3]."""

  images: np.ndarray
  parts: np.ndarray
  keypoints: np.ndarray


@functools.lru_cache(maxsize=4)  # both streams of a run show the same people
def draw(crowd: Crowd, size: int) -> Album:
  """Renders all pictures of a crowd."""
  chunks = list(_chunks(crowd, size))
  names = [field.name for field in dataclasses.fields(Album)]
  return Album(*(np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in names))


def _chunks(crowd: Crowd, size: int) -> Iterator[Album]:
  members, root = crowd.members(), jax.random.key(crowd.seed)
  roots = [keys.fold(root, *names) for names in (("people", crowd.people), ("poses", crowd.poses))]
  padded = np.pad(members, ((0, -len(members) % _CHUNK), (0, 0)), mode="edge")
  starts = range(0, len(padded), _CHUNK)
  for start in track(starts, f"drawing the people {crowd.people}", "chunk"):
    drawn = _generate(*roots, padded[start : start + _CHUNK], crowd.spread, size)
    left = min(_CHUNK, len(members) - start)
    yield Album(*(np.asarray(x)[:left] for x in (drawn.image, drawn.parts, drawn.keypoints)))


@functools.partial(jax.jit, static_argnames="size")
def _generate(
  of_people: Array, of_poses: Array, members: Array, spread: float, size: int
) -> Figure:
  """A chunk of figures, [_CHUNK], images and parts as uint8."""

  def one(member: Array) -> Figure:
    person = people.draw_person(jax.random.fold_in(of_people, member[0]))
    pose = people.draw_pose(jax.random.fold_in(of_poses, member[1]), spread)
    drawn = render(person, pose, size)
    image = jnp.floor(drawn.image * 255 + 0.5).astype(jnp.uint8)
    return Figure(image, drawn.parts.astype(jnp.uint8), drawn.keypoints)

  return jax.vmap(one)(members)
