"""Layouts of pictures with keypoints: pair lists (PATN, GFLA) and frames of videos (EDN)."""

import dataclasses
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data import augment
from cfi_jax.data.listing import File, Listing, Record, files_in, is_folder
from cfi_jax.datasets.posed import keypoints as readers
from cfi_jax.datasets.posed.people import Annotated, Posed, sentence


@dataclasses.dataclass(frozen=True)
class PosePairs(Posed):
  """The layout of PATN, GFLA, PISE and SPGNet: pictures in train/ and test/, and two lists of each.

  ROOT/*pairs-train.csv has a header from,to: the picture of the person, and that of the pose and
  the answer. ROOT/*annotation-train.csv has lines name:keypoints_y:keypoints_x
  (`keypoints.read_annotations`).
  """

  name = "pose_pairs"

  def annotated(self, part: str) -> Annotated:
    """Lists the pairs of a part; raises InputError without its lists, or for what is in them."""
    pictures, others = files_in(self.directory, part)
    files = {os.path.relpath(file.path, part): file for file in pictures}
    lists = {kind: self._list(kind, part) for kind in ("pairs", "annotation")}
    texts = {kind: self.text(name) for kind, name in lists.items()}
    pairs = readers.read_pairs(texts["pairs"], self.store.label(lists["pairs"]))
    annotations = readers.read_annotations(
      texts["annotation"], self.store.label(lists["annotation"])
    )
    named = list(dict.fromkeys(name for pair in pairs for name in pair))
    there = [name for name in named if name in files and name in annotations]
    empty = [name for name in there if not annotations[name][:, 2].any()]
    keypoints = {files[name].path: annotations[name] for name in there}
    absent = [name for name in named if name not in files]
    unknown = [name for name in named if name in files and name not in annotations]
    without = [name for name in annotations if name not in files]
    problems = [
      *sentence(f"pictures that {lists['pairs']} names and {part} lacks", absent),
      *sentence(f"pictures without keypoints in {lists['annotation']}", unknown),
      *sentence(f"keypoints in {lists['annotation']} without a picture in {part}", without),
      *sentence("pictures whose points are all missing", empty),
      *self.outside(keypoints),
    ]
    records = tuple(
      Record(f"{target}___{source}", {"source": files[source], "target": files[target]})
      for target, source in pairs
      if source in files and target in files
    )
    strays = [file.path for file in others]
    strays += [files[name].path for name in files if name not in named]
    return Annotated(Listing(records, tuple(problems), tuple(sorted(strays))), keypoints)

  def _list(self, kind: str, part: str) -> str:
    """The one file of that kind of list in the root."""
    ending = f"{kind}-{part}.csv"
    found = [e.name for e in storage.entries(self.directory) if e.name.endswith(ending)]
    if len(found) != 1:
      listed = f"holds {', '.join(found)}" if found else "holds none"
      raise InputError(f"{self.root} {listed}; allowed: one file *{ending}")
    return found[0]


@dataclasses.dataclass(frozen=True)
class PoseFrames(Posed):
  """Frames of videos with keypoints: ROOT/PERSON/train/frames/NAME.png, and for test.

  PERSON/train/keypoints has NAME_keypoints.json of OpenPose, or NAME_pose.yml of Everybody Dance
  Now (`keypoints.READERS`). Each frame is asked for `targets` times, from other frames of the same
  person that are drawn by `seed`. Frames in which nobody was found are left out; of several people
  the one with the most confidence is taken.

  targets: records of each frame.
  """

  targets: int

  name = "pose_frames"

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    super().__post_init__()
    if type(self.targets) is not int or not 1 <= self.targets < 2**31:
      raise InputError(f"data.targets is {self.targets!r}; allowed: a whole number from 1")

  def annotated(self, part: str) -> Annotated:
    """Lists the frames of a part; raises InputError where nobody has any, and for damaged files."""
    if not is_folder(self.directory):
      files_in(self.directory, "")  # says what is wrong
    people = [
      entry.name
      for entry in storage.entries(self.directory)
      if is_folder(os.path.join(entry.path, part, "frames"))
    ]
    if not people:
      raise InputError(
        f"{self.root} has no folder PERSON/{part}/frames; expected are PERSON/{part}/frames and "
        f"PERSON/{part}/keypoints"
      )
    records: list[Record] = []
    keypoints: dict[str, np.ndarray] = {}
    problems, notes, strays = [], [], []
    for person in people:
      frames, others, found = self._frames(os.path.join(person, part))
      problems += found.problems
      notes += found.notes
      strays += [file.path for file in others]
      own = [file for file in frames if file.path in found.keypoints]
      keypoints |= found.keypoints
      if len(own) == 1:
        problems.append(f"{person}/{part} has one frame with a person; allowed: two or more")
      else:
        records += self._records(own)
    problems += self.outside(keypoints)
    listing = Listing(tuple(records), tuple(problems), tuple(strays), tuple(notes))
    return Annotated(listing, keypoints)

  def _records(self, frames: list[File]) -> Iterator[Record]:
    """Each frame `targets` times, from other frames."""
    for index, source in enumerate(frames):
      bits = augment.raw_bits(self.seed, (index,), self.targets)
      others = dict.fromkeys(int(b) % (len(frames) - 1) for b in bits)
      for other in others:
        target = frames[other + (other >= index)]
        stem = os.path.splitext(source.path)[0]
        name = f"{stem}___{os.path.splitext(os.path.basename(target.path))[0]}"
        yield Record(name, {"source": source, "target": target})

  def _frames(self, folder: str) -> tuple[list[File], list[File], "_Keypoints"]:
    """The frames below PERSON/part, other files there, and what the keypoint files hold."""
    frames, others = files_in(self.directory, os.path.join(folder, "frames"), subfolders=False)
    directory = os.path.join(folder, "keypoints")
    _, files = files_in(self.directory, directory, subfolders=False)
    by_stem = {os.path.splitext(os.path.basename(file.path))[0]: file for file in frames}
    found: dict[str, np.ndarray] = {}
    problems, crowded, empty, alone, seen = [], [], [], [], set()
    for file in files:
      name = os.path.basename(file.path)
      ending = next((end for end in readers.READERS if name.endswith(end)), None)
      if ending is None:
        others.append(file)
        continue
      stem = name.removesuffix(ending)
      if stem not in by_stem:
        alone.append(name)
        continue
      seen.add(stem)
      try:
        person = readers.READERS[ending](self.text(file.path), self.store.label(file.path))
      except InputError as error:
        problems.append(str(error))
        continue
      if person.keypoints is None:
        empty.append(name)
        continue
      found[by_stem[stem].path] = person.keypoints
      if person.people > 1:
        crowded.append(name)
    bare = [os.path.basename(by_stem[stem].path) for stem in by_stem if stem not in seen]
    problems += sentence(f"frames of {folder} without a file in keypoints", bare)
    problems += sentence(f"keypoint files of {folder} without a frame", alone)
    notes = sentence(f"frames of {folder} with nobody, which are left out", empty)
    notes += sentence(
      f"frames of {folder} with several people, of whom the one with the most confidence is taken",
      crowded,
    )
    return frames, others, _Keypoints(found, tuple(problems), tuple(notes))


class _Keypoints(NamedTuple):
  """Keypoints by the path of their frame, sentences on what is wrong, and on what is not."""

  keypoints: dict[str, np.ndarray]
  problems: tuple[str, ...]
  notes: tuple[str, ...]
