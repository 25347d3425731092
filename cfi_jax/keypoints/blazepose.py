"""BlazePose (Bazarevsky et al. 2020): the landmark network of MediaPipe, run by LiteRT.

The network is given by the user: its file, or a package that holds it. It is not downloaded.
"""

import dataclasses
import os
import pathlib
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.images import squares

SIDE = 256  # pixels of the network's input
PRESENT = 0.5  # least score of a person, and least presence and visibility of a joint
AROUND = 1.3  # side of the second look in extents of the person that the first one found
# Points of BlazePose by our joints; the neck is the middle of the shoulders.
POINTS = {
  "nose": (0,), "neck": (11, 12), "right shoulder": (12,), "right elbow": (14,),
  "right wrist": (16,), "left shoulder": (11,), "left elbow": (13,), "left wrist": (15,),
  "right hip": (24,), "right knee": (26,), "right ankle": (28,), "left hip": (23,),
  "left knee": (25,), "left ankle": (27,), "right eye": (5,), "left eye": (2,), "right ear": (8,),
  "left ear": (7,),
}  # fmt: skip
RUNTIME = "pip install 'cfi_jax[keypoints]'"
PACKAGE = "npm pack @mediapipe/pose"


class Look(NamedTuple):
  """Output of the network for a square picture.

  points: [39, 5]: x, y in its pixels, z, and the logits of visibility and presence. score: of a
  person, 0 to 1.
  """

  points: np.ndarray
  score: float


@dataclasses.dataclass(frozen=True)
class BlazePose:
  """Finds the keypoints of one person; run: f(RGB float32 [1, 256, 256, 3] in [0, 1]) -> look."""

  run: Callable[[np.ndarray], Look]

  def find(self, picture: np.ndarray) -> np.ndarray | None:
    """Keypoints [18, 3] of a picture, uint8 RGB [H, W, 3]: x, y in pixels, confidence 0 to 1.

    The whole picture is looked at, then a square around the person that was found there. Joints
    that are unsure or outside are 0, 0, 0. None where nobody is found.
    """
    height, width = picture.shape[:2]
    above, left = squares.margins(height, width)
    whole = Box(-left, -above, max(height, width))
    first = self._look(picture, whole)
    best, box = first, whole
    places = whole.to_picture(first.points[:33, :2])
    extent = AROUND * (places.max(0) - places.min(0)).max()
    if extent >= 16:
      near = Box(*(places.max(0) + places.min(0) - extent) / 2, extent)
      second = self._look(picture, near)
      if second.score >= first.score:
        best, box = second, near
    if best.score < PRESENT:
      return None
    keypoints = _keypoints(best.points, box)
    x, y, _ = keypoints.T
    inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
    return np.where(inside[:, None], keypoints, 0)

  def _look(self, picture: np.ndarray, box: "Box") -> Look:
    """The network's answer on a square of the picture, black where the picture ends."""
    square = (box.left, box.above, box.left + box.side, box.above + box.side)
    cut = Image.fromarray(picture).transform(
      (SIDE, SIDE), Image.Transform.EXTENT, square, Image.Resampling.BILINEAR
    )
    return self.run(np.asarray(cut, np.float32)[None] / 255)


class Box(NamedTuple):
  """A square of a picture, in pixels; it may reach beyond."""

  left: float
  above: float
  side: float

  def to_picture(self, places: np.ndarray) -> np.ndarray:
    """Places [..., 2] in the picture of places in the network's input."""
    return places * (self.side / SIDE) + (self.left, self.above)


def _keypoints(points: np.ndarray, box: Box) -> np.ndarray:
  """Keypoints [18, 3] of the network's points; unsure ones are 0, 0, 0."""
  sure = 1 / (1 + np.exp(-points[:, 3:].min(1)))
  found = np.zeros((len(JOINTS), 3))
  for k, name in enumerate(JOINTS):
    own = list(POINTS[name])
    confidence = sure[own].min()
    if confidence >= PRESENT:
      found[k] = (*box.to_picture(points[own, :2].mean(0)), confidence)
  return found


def load(model: str, size: str) -> BlazePose:
  """BlazePose by a file `pose_landmark_*.tflite`, or by a package that holds it.

  model: the file, a .tgz, .whl or .zip with one of that name, or a folder that has one somewhere.
  size: which of several is taken, "lite", "full" or "heavy". Raises InputError without the runtime,
  and for what is none of these.
  """
  content = read_model(storage.local(os.path.expanduser(model)), size)
  try:
    from ai_edge_litert.interpreter import Interpreter  # an optional extra
  except ImportError as error:
    raise InputError(f"the runtime of BlazePose is not installed ({error}): {RUNTIME}") from error
  try:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return BlazePose(_runner(interpreter, model))
  except InputError:
    raise
  except (ValueError, RuntimeError) as error:
    raise InputError(f"{model}: LiteRT cannot run it ({error})") from error


def _runner(interpreter: Any, label: str) -> Callable[[np.ndarray], Look]:
  """Runs a network of one picture; refuses one without BlazePose's inputs and outputs."""
  (given, *_), outputs = interpreter.get_input_details(), interpreter.get_output_details()
  by_size = {int(np.prod(output["shape"])): output["index"] for output in outputs}
  if tuple(given["shape"]) != (1, SIDE, SIDE, 3) or not {195, 1} <= set(by_size):
    raise InputError(
      f"{label}: takes {list(given['shape'])} and gives {sorted(by_size)} numbers; allowed: a "
      "landmark network of BlazePose, which takes [1, 256, 256, 3] and gives 195 and 1"
    )

  def run(picture: np.ndarray) -> Look:
    interpreter.set_tensor(given["index"], picture)
    interpreter.invoke()
    points = interpreter.get_tensor(by_size[195]).reshape(39, 5)
    return Look(points, float(interpreter.get_tensor(by_size[1]).ravel()[0]))

  return run


def read_model(path: pathlib.Path, size: str) -> bytes:
  """The network's file, see `load`."""
  wanted = f"pose_landmark_{size}.tflite"
  if path.suffix == ".tflite" and path.is_file():
    return path.read_bytes()
  if path.is_dir():
    for found in sorted(path.rglob(wanted)):
      return found.read_bytes()
  elif path.is_file() and tarfile.is_tarfile(path):
    with tarfile.open(path) as archive:
      for member in archive.getmembers():
        if member.isfile() and pathlib.PurePosixPath(member.name).name == wanted:
          return archive.extractfile(member).read()
  elif path.is_file() and zipfile.is_zipfile(path):
    with zipfile.ZipFile(path) as archive:
      for name in archive.namelist():
        if pathlib.PurePosixPath(name).name == wanted:
          return archive.read(name)
  what = f"holds no {wanted}" if path.exists() else "does not exist"
  raise InputError(
    f"{path}: {what}; allowed: that file, or a package or folder that holds it, such as "
    f"that of {PACKAGE}"
  )
