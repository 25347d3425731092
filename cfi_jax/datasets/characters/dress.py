"""Clothes of a character, and the points of its surface that are drawn; all of it is ours.

Clothes are the stand-ins that MakeHuman's mesh has for them, coloured as `figures.people.Person`
says.
"""

import dataclasses

import numpy as np

from cfi_jax.datasets.characters.body import Shape
from cfi_jax.datasets.characters.mesh import BONE, Mesh
from cfi_jax.datasets.figures import people
from cfi_jax.datasets.figures.people import Person
from cfi_jax.datasets.figures.skeleton import PARTS

POINTS = 80_000  # of a surface; the person covers a tenth of the 65,536 samples of 128x128 pixels
DRAWN = 3 * POINTS  # of which less than two thirds are under clothes
SKINS = np.array([[0.93, 0.74, 0.63], [0.38, 0.25, 0.18], [0.88, 0.70, 0.53]])
WAIST, COLLAR, SOLE = 0.555, 0.835, 0.042  # shares of the height
SLEEVES = {0.0: 2.2, 0.5: 3.4, 1.0: 4.6}  # from the middle in dm, by `Person.sleeve`
TROUSERS = {0.35: 0.40, 0.5: 0.29, 1.0: 0.055}  # ends as shares of the height, by `Person.trouser`
_PARTS = {"Head": "head", "Neck": "head", "Hips": "hips"} | {
  **{f"Spine{n}": "torso" for n in ("", "1", "2")},
  **{
    f"{side.title()}{bone}": part.format(side)
    for side in ("right", "left")
    for bone, part in {
      "Shoulder": "torso", "Arm": "{} upper arm", "ForeArm": "{} forearm", "UpLeg": "{} thigh",
      "Leg": "{} shin", "Foot": "{} foot", "ToeBase": "{} foot",
    }.items()
  },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Surface:
  """Points on a character, fixed to the mesh: corners [P, 4] with weights [P, 4], colours [P, 3]
  and parts [P], indices into `PARTS`."""

  corners: np.ndarray
  weights: np.ndarray
  colours: np.ndarray
  parts: np.ndarray


def dress(mesh: Mesh, shape: Shape, person: Person, random: np.random.Generator) -> Surface:
  """The points of a character's surface, in the clothes and with the hair of a person."""
  used = ["body", "helper-tights", "helper-hair", "helper-l-eye", "helper-r-eye"]
  skirt = shape.female and bool(person.skirt)
  faces = np.flatnonzero(np.isin(mesh.groups, [*used, *(["helper-skirt"] if skirt else [])]))
  quads = shape.vertices[mesh.faces[faces]]
  area = sum(
    np.linalg.norm(np.cross(quads[:, i] - quads[:, 0], quads[:, j] - quads[:, 0]), axis=1)
    for i, j in ((1, 2), (2, 3))
  )
  chosen = faces[random.choice(len(faces), DRAWN, p=area / area.sum())]
  a, b = random.random((2, DRAWN))
  weights = np.stack([(1 - a) * (1 - b), a * (1 - b), a * b, (1 - a) * b], 1)
  corners = mesh.faces[chosen]
  places = np.einsum("nk,nkc->nc", weights, shape.vertices[corners])
  kept, colours = _colour(mesh, shape, person, places, mesh.groups[chosen])
  parts = _parts(mesh)[corners[:, 0]]
  parts = np.where(mesh.groups[chosen] == "helper-skirt", PARTS.index("hips"), parts)
  shown = np.flatnonzero(kept)[:POINTS]  # drawn in no order
  return Surface(corners[shown], weights[shown], colours[shown], parts[shown])


def _colour(
  mesh: Mesh, shape: Shape, person: Person, places: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Which points [P] are seen at all, and their colours [P, 3]."""
  body = shape.vertices[mesh.sets["body"]]
  low, high = body[:, 1].min(), body[:, 1].max()
  height, out = (places[:, 1] - low) / (high - low), np.abs(places[:, 0])
  upper = height > WAIST
  clothed = np.where(
    upper, (out < SLEEVES[round(float(person.sleeve), 2)]) & (height < COLLAR),
    height > TROUSERS[round(float(person.trouser), 2)],
  )  # fmt: skip
  clothed &= (out < SLEEVES[1.0]) & (height > TROUSERS[1.0])
  own = groups == "body"
  shirt = np.where(_pattern(person, places, height)[:, None], person.second, person.shirt)
  garment = np.where(upper[:, None], shirt, np.asarray(person.trousers))
  colours = np.tile(shape.origins @ SKINS, (len(places), 1))
  colours = np.where((groups == "helper-tights")[:, None], garment, colours)
  colours[own & (height < SOLE)] = person.shoes
  colours[groups == "helper-skirt"] = person.trousers
  colours[groups == "helper-hair"] = person.hair
  colours[np.isin(groups, ["helper-l-eye", "helper-r-eye"])] = (0.15, 0.12, 0.1)
  kept = np.where(groups == "helper-tights", clothed, True)
  kept &= ~(own & clothed)  # which would show through in specks
  crown = height > 0.965
  behind = places[:, 2] < body[body[:, 1] > high - 2.2][:, 2].mean()
  long = bool(person.long_hair)
  kept &= (groups != "helper-hair") | crown | (behind & (long | (height > 0.9)))
  return kept, colours


def _pattern(person: Person, places: np.ndarray, height: np.ndarray) -> np.ndarray:
  """Points that have the second colour of the shirt, bool [P]."""
  rows = np.sin(5.5 * float(person.frequency) * height) > 0
  columns = np.sin(0.5 * float(person.frequency) * places[:, 0]) > 0
  logo = (np.hypot(places[:, 0], 17 * (height - 0.72)) < 0.8) & (places[:, 2] > 0)
  drawn = {
    people.PLAIN: np.zeros_like(rows), people.ROWS: rows, people.COLUMNS: columns,
    people.CHECKS: rows ^ columns, people.LOGO: logo,
  }  # fmt: skip
  return drawn[int(person.pattern)]


def _parts(mesh: Mesh) -> np.ndarray:
  """The part of each vertex, [V]: that of the bone that moves it most."""
  names = [name.removeprefix(BONE) for name in mesh.names]
  hands = {
    name: f"{name[: name.index('Hand')].lower()} forearm" for name in names if "Hand" in name
  }
  of_bone = [PARTS.index((_PARTS | hands)[name]) for name in names]
  return np.array(of_bone)[mesh.weights.argmax(1)]
