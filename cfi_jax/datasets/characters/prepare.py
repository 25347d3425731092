"""Rendering of all characters in all poses, once, into the files of the data set."""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib

import jax
import numpy as np

from cfi_jax.core import keys
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.datasets.characters import body, dress
from cfi_jax.datasets.characters import mesh as mesh_lib
from cfi_jax.datasets.characters.body import Directions
from cfi_jax.datasets.characters.draw import SCALE, draw
from cfi_jax.datasets.characters.mesh import Mesh
from cfi_jax.datasets.characters.transfers import MANIFEST, Characters
from cfi_jax.datasets.figures import people, render, skeleton
from cfi_jax.datasets.figures.album import Album, Crowd
from cfi_jax.datasets.figures.skeleton import JOINTS


def prepare(dataset: Characters, root: str) -> pathlib.Path:
  """Writes the pictures of every split; returns their folder. Splits that are there are kept.

  root: where the mesh is, see `mesh.load`. Raises InputError for another one, and for a folder that
  holds other characters.
  """
  folder = dataset.folder
  require_folder(folder)
  digests = _written(dataset)
  mesh = mesh_lib.load(root)
  for split in (split for split in dataset.splits if split not in digests):
    drawn = render_crowd(mesh, dataset.crowd(split), dataset.size)
    content = io.BytesIO()
    np.savez_compressed(content, **dataclasses.asdict(drawn))
    write_atomically(folder / f"{split}.npz", content.getvalue())
    digests[split] = hashlib.sha256(content.getvalue()).hexdigest()
    manifest = {"drawn": dataset.drawn, "sha256": digests}
    write_atomically(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
  return folder


def _written(dataset: Characters) -> dict[str, str]:
  """SHA-256 of the splits that are there; refuses those of other characters."""
  path = dataset.folder / MANIFEST
  if not path.exists():
    return {}
  try:
    found = json.loads(path.read_text())
    drawn, digests = found["drawn"], dict(found["sha256"])
  except (ValueError, KeyError, TypeError) as error:
    raise InputError(f"{path}: damaged ({error}); remove its folder") from error
  if drawn != dataset.drawn:
    raise InputError(f"{path}: is of {drawn}, not {dataset.drawn}; remove its folder")
  return digests


def render_crowd(mesh: Mesh, crowd: Crowd, size: int) -> Album:
  """Renders all pictures of a crowd, in its order."""
  root = jax.random.key(crowd.seed)
  of_people, of_poses = (
    keys.fold(root, *names) for names in (("people", crowd.people), ("poses", crowd.poses))
  )
  persons = jax.device_get(_persons(of_people, crowd.person_count))
  members = crowd.members()
  stood = jax.device_get(_poses(of_poses, int(members[:, 1].max()) + 1, crowd.spread))
  figures = []
  for who in track(range(crowd.person_count), f"drawing the people {crowd.people}", "person"):
    person = jax.tree.map(lambda x: x[who], persons)  # noqa: B023
    # By the bits of its key, so that a person does not depend on the others.
    bits = np.asarray(jax.random.key_data(jax.random.fold_in(of_people, who)))
    random = np.random.default_rng(bits.tolist())
    shape = body.draw_shape(mesh, random)
    surface = dress.dress(mesh, shape, person, random)
    behind = np.asarray(_room(person, size))
    for what in members[members[:, 0] == who, 1]:
      vertices, joints = _pose(mesh, shape.vertices, jax.tree.map(lambda x: x[what], stood))  # noqa: B023
      figures.append(draw(surface, vertices, joints, behind))
  images = np.stack([np.floor(f.image * 255 + 0.5).astype(np.uint8) for f in figures])
  return Album(
    images, np.stack([f.parts for f in figures]), np.stack([f.keypoints for f in figures])
  )


def _pose(
  mesh: Mesh, vertices: np.ndarray, stood: skeleton.Skeleton
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """The mesh in the pose of a skeleton, its hips as far from the middle."""
  places = np.asarray(stood.joints, np.float64)
  at = dict(zip(JOINTS, places, strict=True))
  torso, face = (np.asarray(x, np.float64) for x in (stood.torso, stood.face))
  moved, joints = body.pose(mesh, vertices, Directions(at, torso, face))
  middle = (at["right hip"] + at["left hip"]) / 2
  aside = np.array([middle[0] * skeleton.SCALE / SCALE, 0, 0])
  return moved + aside, {name: place + aside for name, place in joints.items()}


def _persons(key: jax.Array, count: int) -> people.Person:
  """The people of a crowd, [count]."""
  draw_one = jax.jit(jax.vmap(lambda i: people.draw_person(jax.random.fold_in(key, i))))
  return draw_one(np.arange(count, dtype=np.uint32))


def _poses(key: jax.Array, count: int, spread: float) -> skeleton.Skeleton:
  """Skeletons of one person in the poses of a crowd, [count], of which directions count alone."""
  anyone = people.draw_person(jax.random.key(0))

  def stand(i: jax.Array) -> skeleton.Skeleton:
    return skeleton.stand(anyone, people.draw_pose(jax.random.fold_in(key, i), spread))

  return jax.jit(jax.vmap(stand))(np.arange(count, dtype=np.uint32))


@functools.partial(jax.jit, static_argnames="size")
def _room(person: people.Person, size: int) -> jax.Array:
  """The room of a person, RGB [size, size, 3]."""
  return render.room(person, render.grid(size))
