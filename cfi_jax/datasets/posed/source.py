"""Requests for pose transfer made of pictures in files: squares of one size with their joints."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.source import Derived, FileSource
from cfi_jax.datasets.figures import joints
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.images import squares
from cfi_jax.images.read import Header

ROLES = ("source", "target")


@dataclasses.dataclass(frozen=True)
class PosedSource(Derived):
  """The records of a split as a `Source`, as `figures.transfers.FigureSource` has them.

  source: pictures "source" and "target". keypoints: by the path of a picture, [18, 3] in its
  pixels. size: of the squares that they are padded and scaled to. paired: the source is the answer,
  "truth", too: the target's person in the pose that is asked for.
  """

  source: FileSource
  keypoints: Mapping[str, np.ndarray]
  size: int
  paired: bool

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a record, uint8 [S, S, C] by name; raises as `Source` says."""
    record, found = self.source.records[index], {}
    for role, picture in self.source[index].items():
      path = record.files[role].path
      if picture.dtype != np.uint8:
        raise InputError(f"{self.source.store.label(path)}: has 16 bits per channel; allowed: 8")
      square = squares.scale(squares.pad(picture), self.size)
      found[role] = square
      found[f"{role}_joints"] = joints.encode(self._scaled(path, picture.shape), self.size)
    if self.paired:
      found["truth"], found["truth_joints"] = found["source"], found["source_joints"]
    return found

  def _scaled(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Keypoints of a picture [H, W, C] in pixels of its square."""
    keypoints = self.keypoints[path].copy()
    keypoints[:, :2] = squares.move(keypoints[:, :2], *shape[:2], self.size)
    return keypoints

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size, depth and channels of every image; raises one InputError as the files' does."""
    self.source.check_headers()
    own = {}
    for role in (*ROLES, *(("truth",) if self.paired else ())):
      own[role] = Header(self.size, self.size, np.uint8, 3)
      own[f"{role}_joints"] = Header(self.size, self.size, np.uint8, len(JOINTS))
    return (own,) * len(self)

  def coloured(self, names: tuple[str, ...]) -> "PosedSource":
    """Returns itself: pictures have their colours."""
    del names
    return self

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of the pictures' names and sizes, their keypoints, and the size."""
    digest = hashlib.sha256(f"{self.source.fingerprint()}\t{self.size}\t{self.paired}".encode())
    for record in self.source.records:
      for role in ROLES:
        digest.update(self.keypoints[record.files[role].path].tobytes())
    return digest.hexdigest()

  def formerly(self) -> str:
    """Returns the fingerprint, which no version made otherwise."""
    return self.fingerprint()
