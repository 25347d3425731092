"""The embedded data set of pose transfer: procedural people, no files; all of it is ours.

A record asks for the person of one picture in the pose of another. As people are rendered, the
answer is exact, also across people ("cross"). Other records are two pictures of one person
("same"), or have no answer at all ("support").
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data import augment
from cfi_jax.datasets.figures import album, joints
from cfi_jax.datasets.figures.album import Album, Crowd
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.datasets.generated import Generated
from cfi_jax.datasets.splits import require_split
from cfi_jax.images.read import Header

CROSS, SAME, SUPPORT = "cross", "same", "support"
ROLES = ("source", "target", "truth")
TRAIN, WIDE = "train", 1.25  # the training split's people and poses; spread of support's poses


@dataclasses.dataclass(frozen=True)
class Figures:
  """Numbers of people and poses of each split, and of records that are made of them.

  size: of pictures, a multiple of 8. people: of the split "train". groups: of as many of them
    each; a group has `poses` poses of its own, in which all its people are seen. The more groups,
    the more poses are seen in as many pictures.
  pairs: its records; same: share of them that show one person twice.
  support: pictures of the split "support", of other people in wider poses, each seen once.
  held_out_people, held_out_poses: of "validation", and as many others of "test".
  validation_pairs, test_pairs: records of "validation"; of "test" and of "known".
  seed: a whole number from 0 to 2**31 - 1; another seed gives other people and poses.

  Splits: "train"; "support"; "validation" and "test", new people in new poses; "known", the first
  people of "train" in new poses. No two splits share a pose, nor, but for "known", a person.
  """

  size: int
  people: int
  poses: int
  groups: int
  pairs: int
  same: float
  support: int
  held_out_people: int
  held_out_poses: int
  validation_pairs: int
  test_pairs: int
  seed: int

  name: ClassVar[str] = "figures"
  title: ClassVar[str] = "Figures"
  splits: ClassVar[tuple[str, ...]] = ("train", "support", "validation", "test", "known")

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    least = dict.fromkeys(("people", "poses", "held_out_people", "held_out_poses"), 2)
    least |= dict.fromkeys(("pairs", "support", "validation_pairs", "test_pairs"), 1) | {"seed": 0}
    for name, low in least.items():
      value = getattr(self, name)
      if type(value) is not int or not low <= value < 2**31:
        raise InputError(f"data.{name} is {value!r}; allowed: a whole number from {low}")
    if type(self.groups) is not int or self.groups < 1 or self.people % self.groups:
      raise InputError(
        f"data.groups is {self.groups!r}; allowed: a divisor of data.people={self.people}"
      )
    if self.people == self.groups:
      raise InputError(
        f"data.groups is {self.groups}, of one person each; allowed: at most data.people / 2"
      )
    if type(self.size) is not int or self.size % 8 or not 16 <= self.size <= 1024:
      raise InputError(f"data.size is {self.size!r}; allowed: a multiple of 8 from 16 to 1024")
    if type(self.same) not in (int, float) or not 0 <= self.same <= 1:
      raise InputError(f"data.same is {self.same!r}; allowed: a number from 0 to 1")

  def source(self, split: str) -> "FigureSource":
    """The records of a split; its pictures are rendered here and stay in memory."""
    require_split(split, self.title, self.splits)
    return FigureSource(split, self)

  def crowd(self, split: str) -> Crowd:
    """The people and poses of a split."""
    if split == TRAIN:
      return Crowd(self.seed, TRAIN, self.people, TRAIN, self.poses, self.groups)
    if split == SUPPORT:
      count = self.support
      return Crowd(self.seed, SUPPORT, count, SUPPORT, count, spread=WIDE, paired=False)
    if split == "known":
      count = min(self.people, self.held_out_people)
      return Crowd(self.seed, TRAIN, count, "known", self.held_out_poses)
    return Crowd(self.seed, split, self.held_out_people, split, self.held_out_poses)

  def album(self, split: str) -> Album:
    """The pictures of a split's people."""
    return album.draw(self.crowd(split), self.size)

  def count(self, split: str) -> int:
    """The number of records of a split; of "support" two for each picture, as either role."""
    others = {TRAIN: self.pairs, SUPPORT: 2 * self.support, "validation": self.validation_pairs}
    return others.get(split, self.test_pairs)


@dataclasses.dataclass(frozen=True)
class Record:
  """One request: pictures by role, each of a split and an index into its album; truth may lack."""

  kind: str
  pictures: dict[str, tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class FigureSource(Generated):
  """The records of a split as a `Source`.

  Images of a record: source, target and, but for "support", truth, RGB [S, S, 3]; source_joints,
  target_joints, truth_joints [S, S, 18], see `joints`. Of held-out splits also source_parts and
  truth_parts [S, S, 1], indices into `skeleton.PARTS`.
  """

  split: str
  dataset: Figures

  edition: ClassVar[int] = 1

  def __len__(self) -> int:
    return self.dataset.count(self.split)

  @property
  def has_parts(self) -> bool:
    """Whether records have part maps."""
    return self.split not in (TRAIN, SUPPORT)

  def record(self, index: int) -> Record:
    """The request of that index, a pure function of (seed, split, index)."""
    options = self.dataset
    seed = augment.raw_bits(options.seed, (Figures.splits.index(self.split), index), 6)
    bits = [int(b) for b in seed]
    if self.split == SUPPORT:
      own, other = (SUPPORT, index // 2), (TRAIN, bits[0] % len(options.crowd(TRAIN)))
      source, target = (own, other) if index % 2 == 0 else (other, own)
      return Record(SUPPORT, {"source": source, "target": target})
    crowd = options.crowd(self.split)
    person, pose = bits[0] % crowd.person_count, bits[1] % crowd.pose_count
    wanted = (pose + 1 + bits[2] % (crowd.pose_count - 1)) % crowd.pose_count
    others = crowd.person_count // crowd.groups - 1  # of the person's group
    other = (person + crowd.groups * (1 + bits[3] % others)) % crowd.person_count
    same = self.split == TRAIN and bits[4] < options.same * 2**64
    places = {"source": (person if same else other, wanted), "target": (person, pose)}
    places["truth"] = (person, wanted)
    pictures = {role: (self.split, crowd.index(*place)) for role, place in places.items()}
    return Record(SAME if same else CROSS, pictures)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a record, uint8 [S, S, C] by name."""
    size, images = self.dataset.size, {}
    for role, (split, place) in self.record(index).pictures.items():
      shown = self.album(split)
      images[role] = shown.images[place]
      images[f"{role}_joints"] = joints.encode(shown.keypoints[place], size)
      if role != "target" and self.has_parts:
        images[f"{role}_parts"] = shown.parts[place][..., None]
    return images

  def album(self, split: str) -> Album:
    """The pictures of a split, from memory after the first time."""
    return self.dataset.album(split)

  @functools.cached_property
  def _headers(self) -> dict[str, Header]:
    size, roles = self.dataset.size, ROLES[: 2 if self.split == SUPPORT else 3]
    found = {}
    for role in roles:
      found[role] = Header(size, size, np.uint8, 3)
      found[f"{role}_joints"] = Header(size, size, np.uint8, len(JOINTS))
      if role != "target" and self.has_parts:
        found[f"{role}_parts"] = Header(size, size, np.uint8, 1)
    return found

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size, depth and channels of every image; there are no files to be damaged."""
    return (self._headers,) * len(self)
